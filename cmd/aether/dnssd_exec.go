package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/aether-lan/aether/dnssd"
)

// execution runs a program once for each instance, one after the other, as ippfind
// does: without a shell, with words replaced and variables set.
type execution struct {
	argv      []string
	out, errs io.Writer
	done      map[dnssd.FullName]bool
	failed    int
}

// newExecution splits program into words as a shell does, quotes included, and puts
// args behind them.
func newExecution(program string, args []string, out, errs io.Writer) (*execution, error) {
	argv, err := words(program)
	if err != nil {
		return nil, fmt.Errorf("--exec: %w", err)
	}
	if len(argv) == 0 {
		return nil, errors.New("--exec needs a program")
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, fmt.Errorf("--exec: %w", err)
	}
	return &execution{argv: append(argv, args...), out: out, errs: errs, done: make(map[dnssd.FullName]bool)}, nil
}

// words splits s at spaces that are neither quoted nor behind a backslash.
func words(s string) (list []string, err error) {
	var word strings.Builder
	quote, begun := rune(0), false
	behind := false // a backslash
	for _, r := range s {
		switch {
		case behind:
			word.WriteRune(r)
			behind = false
		case r == '\\' && quote != '\'':
			behind, begun = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, begun = r, true
		case quote == 0 && strings.ContainsRune(" \t\n", r):
			if begun {
				list = append(list, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quote != 0 || behind {
		return nil, fmt.Errorf("%q does not end what it quotes", s)
	}
	if begun {
		list = append(list, word.String())
	}
	return list, nil
}

// run runs the program for i unless it has been. What the program returns is counted;
// an error is one of starting it.
func (e *execution) run(ctx context.Context, i dnssd.Instance) error {
	if e.done[i.FullName()] {
		return nil
	}
	e.done[i.FullName()] = true
	facts := factsOf(i)
	argv := make([]string, len(e.argv))
	for n, word := range e.argv {
		argv[n] = facts.replace(word)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), facts.environment()...)
	cmd.Stdout, cmd.Stderr = e.out, e.errs
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil || ctx.Err() != nil: // interrupted with us
		return nil //nolint:nilerr // the caller sees ctx
	case errors.As(err, &exit):
		e.failed++
		return nil
	}
	return err
}

// facts are names of ippfind and what they stand for.
type facts [][2]string

// schemes are the URI schemes of services whose name is not one. From the services'
// registrations at IANA.
var schemes = map[string]string{
	"_printer._tcp": "lpd", "_pdl-datastream._tcp": "socket", "_sftp-ssh._tcp": "sftp", "_afpovertcp._tcp": "afp",
	"_webdav._tcp": "http", "_webdavs._tcp": "https", "_rfb._tcp": "vnc",
}

func factsOf(i dnssd.Instance) facts {
	service, _ := dnssd.ParseService(i.Service) // a found instance has a valid one
	scheme := schemes[i.Service]
	if scheme == "" {
		scheme = strings.TrimPrefix(strings.TrimSuffix(strings.TrimSuffix(service.String(), "._tcp"), "._udp"), "_")
	}
	path := "/"
	for _, key := range []string{"path", "rp"} { // of web pages, and of printing queues
		if v, state := i.TXT.Get(key); state == dnssd.HasValue {
			path = "/" + strings.TrimPrefix(string(v), "/")
			break
		}
	}
	uri := url.URL{Scheme: scheme, Host: net.JoinHostPort(i.Host, strconv.Itoa(int(i.Port))), Path: path}
	f := facts{
		{"service_domain", i.FullName().Domain}, {"service_hostname", i.Host}, {"service_name", i.Name},
		{"service_port", strconv.Itoa(int(i.Port))}, {"service_regtype", i.Service}, {"service_scheme", scheme}, {"service_uri", uri.String()},
	}
	for _, a := range i.TXT {
		f = append(f, [2]string{"txt_" + a.Key, string(a.Value)})
	}
	for n := range f {
		f[n][1] = strings.ReplaceAll(f[n][1], "\x00", "") // no argument can hold it
	}
	return f
}

// replace puts facts into a word. An attribute that is not there is empty.
func (f facts) replace(word string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(word, "{")
		b.WriteString(before)
		name, after, closed := strings.Cut(rest, "}")
		if !found {
			return b.String()
		}
		value, known := f.lookup(name)
		if !closed || !known {
			b.WriteString("{")
			word = rest
			continue
		}
		b.WriteString(value)
		word = after
	}
}

func (f facts) lookup(name string) (value string, known bool) {
	if name == "" {
		name = "service_uri"
	}
	for _, kv := range f {
		if strings.EqualFold(kv[0], name) {
			return kv[1], true
		}
	}
	return "", strings.HasPrefix(name, "txt_")
}

// environment is the facts as variables. Keys of attributes may have characters that
// names of variables do not: these become '_'.
func (f facts) environment() (env []string) {
	for _, kv := range f {
		name := strings.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
				return r
			}
			return '_'
		}, strings.ToUpper(kv[0]))
		env = append(env, "IPPFIND_"+name+"="+kv[1])
	}
	return env
}
