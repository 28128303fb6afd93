package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
)

func dnssdRegisterCommand() *cli.Command {
	return &cli.Command{
		Name:      "register",
		Usage:     "offer a service until interrupted",
		ArgsUsage: "NAME TYPE PORT [KEY=VALUE...]",
		Description: "NAME is for people: any text of up to 63 bytes. TYPE is _ipp._tcp or _NAME._udp. Says goodbye at\n" +
			"the end. When another machine has the name, takes \"NAME (2)\" and so on.\n\n" +
			"With --host the service is on another machine, and with --address that host's addresses are\n" +
			"published too. A VALUE of arbitrary bytes is KEY=@hex:0aff00.\n\n" +
			"With --file everything in Avahi's .service files and in zone files is offered, as dnssd browse\n" +
			"--zone writes them.\n" +
			"Exit status: 0 after an interrupt, 1 when it could not be registered within --timeout." +
			examples(`aether dnssd register 'My page' _http._tcp 8080 path=/index.html`,
				`aether dnssd register Scanner _http._tcp 80 --host scanner.local --address 192.0.2.9`,
				`aether dnssd register --file /etc/avahi/services/ssh.service`),
		Flags: zeroconfFlags(
			waitFlag("give up when it is not registered within `TIME` (0: never)", 0),
			&cli.StringSliceFlag{Name: "subtype", Usage: "be found under the subtype `SUB` too (repeatable)"},
			&cli.StringFlag{Name: "host", Usage: "the service is on `HOST`"},
			&cli.StringFlag{Name: "state", Usage: "remember in `FILE` what it had to be called, for the next start"},
			&cli.StringFlag{Name: "flagship", Usage: "keep the name at the service `TYPE` too, for devices of the same kind"},
			&cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Usage: "offer what is in `FILE`: NAME.service of Avahi, or a zone file (repeatable)"},
			&cli.StringSliceFlag{Name: "address", Usage: "publish `ADDR` for --host (repeatable)"},
		),
		Action: func(c *cli.Context) error {
			files := c.StringSlice("file")
			if len(files) == 0 {
				if err := wantArgs(c, 3, -1); err != nil {
					return err
				}
			} else if c.NArg() > 0 {
				return usage("--file and %s exclude each other", c.Command.ArgsUsage)
			}
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			z.state = c.String("state")
			if len(files) > 0 {
				list, err := instancesOf(files)
				if err != nil {
					return err
				}
				return dnssdRegister(c.Context, list, z)
			}
			inst, err := instanceOf(c)
			if err != nil {
				return usage("%w", err)
			}
			return dnssdRegister(c.Context, []dnssd.Instance{inst}, z)
		},
	}
}

// instanceOf reads the arguments.
func instanceOf(c *cli.Context) (dnssd.Instance, error) {
	args := c.Args().Slice()
	inst := dnssd.Instance{Name: args[0], Service: args[1], Host: c.String("host"), Subtypes: c.StringSlice("subtype"), Flagship: c.String("flagship")}
	port, err := strconv.ParseUint(args[2], 10, 16)
	if err != nil {
		return inst, fmt.Errorf("port %q is not a number from 0 to 65535", args[2])
	}
	inst.Port = uint16(port)
	for _, s := range args[3:] {
		a, err := dnssd.ParseAttribute(s)
		if err != nil {
			return inst, err
		}
		if digits, is := strings.CutPrefix(string(a.Value), "@hex:"); is {
			if a.Value, err = hex.DecodeString(digits); err != nil {
				return inst, fmt.Errorf("%s: %w", a.Key, err)
			}
		}
		inst.TXT = append(inst.TXT, a)
	}
	for _, s := range c.StringSlice("address") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return inst, err
		}
		inst.Addresses = append(inst.Addresses, a)
	}
	if len(inst.Addresses) > 0 && inst.Host == "" {
		return inst, errors.New("--address needs --host")
	}
	_, err = inst.Records("host.local.") // all that can be wrong with it
	return inst, err
}

// instancesOf reads the files of --file: of Avahi where the name ends in .service,
// else zone files.
func instancesOf(files []string) (list []dnssd.Instance, err error) {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		var found []dnssd.Instance
		if strings.HasSuffix(name, ".service") {
			found, err = dnssd.ParseServiceFile(f, name, dnssd.HostLabel())
		} else {
			found, err = dnssd.ParseZone(f, name, dnssd.Local)
		}
		f.Close()
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: no service in it", name)
		}
		list = append(list, found...)
	}
	return list, nil
}

func dnssdRegister(ctx context.Context, list []dnssd.Instance, z zeroconf) error {
	for i := range list {
		for _, w := range list[i].TXT.Warnings() {
			fmt.Fprintln(z.errw, "warning:", printable(list[i].Name+": "+w))
		}
		name, err := dnssd.NormalizeInstance(list[i].Name)
		if err != nil {
			return err
		}
		list[i].Name = name
	}
	life, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all, err := z.register(life, cancel, list)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var wg sync.WaitGroup
	ended := make(chan error, len(all))
	for i, r := range all {
		wg.Go(func() { ended <- z.attend(ctx, list[i].Name, r) })
	}
	// The first that ends on its own ends all: who offers several wants all or none.
	err = <-ended
	for _, r := range all {
		r.Close()
	}
	wg.Wait()
	close(ended)
	for e := range ended {
		err = errors.Join(err, e)
	}
	return err
}

// attend tells what becomes of a registration, asked for as name, until it ends.
func (z zeroconf) attend(ctx context.Context, name string, r *dnssd.Registration) error {
	last := r.Instance()
	if last.Name != name {
		if err := printRenamed(z.out, name, last); err != nil {
			return err
		}
	}
	if err := z.out.event("registered", fmt.Sprintf("registered %s %s port %d", printable(last.Name), last.Service, last.Port), registeredFields(last)...); err != nil {
		return err
	}
	for {
		select {
		case name := <-r.Renamed():
			now := r.Instance()
			now.Name = name
			if err := printRenamed(z.out, last.Name, now); err != nil {
				return err
			}
			last = now
		case <-r.Done():
			if ctx.Err() != nil || r.Err() == nil {
				return z.out.event("goodbye", "goodbye "+printable(last.Name), registeredFields(last)...)
			}
			return r.Err()
		}
	}
}

// register waits for the first announcement no longer than --timeout.
func (z zeroconf) register(life context.Context, cancel context.CancelCauseFunc, list []dnssd.Instance) ([]*dnssd.Registration, error) {
	if z.timeout > 0 {
		late := fmt.Errorf("not registered within %v", z.timeout)
		timer := time.AfterFunc(z.timeout, func() { cancel(late) })
		defer timer.Stop()
	}
	return dnssd.RegisterAll(life, list, z.dnssd())
}

func registeredFields(i dnssd.Instance) []any {
	return []any{
		"instance", wireText(i.Name), "service", wireText(i.Service), "port", i.Port,
		"domain", wireText(i.Domain), "host", wireText(i.Host), "txt", txtObject(i.TXT),
	}
}

func printRenamed(out *printer, from string, i dnssd.Instance) error {
	text := fmt.Sprintf("renamed %s to %s", printable(from), printable(i.Name))
	return out.event("renamed", text, append([]any{"from", wireText(from)}, registeredFields(i)...)...)
}
