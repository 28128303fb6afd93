package dnssd

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of the files that describe instances.
const (
	serviceFileMax      = 64 << 10 // bytes
	serviceFileServices = 64
	subtypesMax         = 64
)

// ErrFile reports a file of services that cannot be used. Its text names the file and
// the line.
var ErrFile = errors.New("dnssd: bad file")

// ParseServiceFile reads the instances in an XML file as Avahi has them in
// /etc/avahi/services (its manual page avahi.service(5)): a service-group with a name
// and services of type, subtype, domain-name, host-name, port and txt-record. Where
// the name says replace-wildcards="yes", %h becomes host, the machine's name without
// a domain. The value-format of a txt-record is text, binary-hex or binary-base64. The
// attribute protocol is checked and has no other effect: instances are offered over
// the families of the node. Instances can be given to [RegisterAll] as they are.
//
// It fails with [ErrFile], with file and line, for what is not such a file, is over 64
// KiB, has more than 64 services, or cannot be registered.
func ParseServiceFile(r io.Reader, file, host string) ([]Instance, error) {
	text, err := readBounded(r, file, serviceFileMax)
	if err != nil {
		return nil, err
	}
	p := serviceParser{d: xml.NewDecoder(strings.NewReader(text)), file: file, host: host}
	for {
		t, err := p.d.RawToken()
		if err == io.EOF { //nolint:errorlint // documented to be returned as it is
			break
		}
		if err == nil {
			err = p.take(t)
		}
		if err != nil {
			return nil, p.wrong(err)
		}
	}
	if len(p.path) > 0 || !p.closed {
		return nil, p.wrong(errors.New("the file ends within an element, or has no service-group"))
	}
	for i := range p.found {
		p.line = p.lines[i]
		p.found[i].Name = p.name
		if p.found[i], err = p.found[i].normalize(); err != nil {
			return nil, p.wrong(err)
		}
	}
	return p.found, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(r io.Reader, file string, limit int) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return "", fmt.Errorf("dnssd: %s: %w", file, err)
	}
	if len(b) > limit {
		return "", fmt.Errorf("%w: %s: more than %d bytes", ErrFile, file, limit)
	}
	return string(b), nil
}

// serviceParser walks through the elements of one file.
type serviceParser struct {
	d          *xml.Decoder
	file, host string
	path       []string // of open elements
	attr       map[string]string
	text       strings.Builder
	closed     bool // the service-group
	name       string
	found      []Instance
	lines      []int // where each began
	line       int   // of the error, when not that of the decoder
}

func (p *serviceParser) wrong(err error) error {
	line := p.line
	if line == 0 {
		line, _ = p.d.InputPos()
	}
	return fmt.Errorf("%w: %s:%d: %w", ErrFile, p.file, line, err)
}

// children are the elements that may be within an element.
var children = map[string]string{
	"":              " service-group ",
	"service-group": " name service ",
	"service":       " type subtype domain-name host-name port txt-record ",
}

// attributes are those that an element may have.
var attributes = map[string]string{"name": "replace-wildcards", "service": "protocol", "txt-record": "value-format"}

func (p *serviceParser) take(t xml.Token) error {
	switch t := t.(type) {
	case xml.StartElement:
		return p.open(t)
	case xml.EndElement:
		if len(p.path) == 0 || p.path[len(p.path)-1] != t.Name.Local {
			return fmt.Errorf("</%s> closes nothing", t.Name.Local)
		}
		p.path = p.path[:len(p.path)-1]
		return p.shut(t.Name.Local)
	case xml.CharData:
		if p.leaf() {
			p.text.Write(t)
		} else if strings.TrimSpace(string(t)) != "" {
			return fmt.Errorf("text %.20q between elements", strings.TrimSpace(string(t)))
		}
	}
	return nil
}

// leaf reports whether the element that is open holds text.
func (p *serviceParser) leaf() bool {
	return len(p.path) > 0 && children[p.path[len(p.path)-1]] == ""
}

func (p *serviceParser) open(t xml.StartElement) error {
	parent, name := "", t.Name.Local
	if len(p.path) > 0 {
		parent = p.path[len(p.path)-1]
	}
	if t.Name.Space != "" || !strings.Contains(children[parent], " "+name+" ") || p.closed {
		return fmt.Errorf("<%s> may not be here", name)
	}
	p.path, p.attr = append(p.path, name), make(map[string]string)
	p.text.Reset()
	for _, a := range t.Attr {
		if a.Name.Local != attributes[name] || a.Name.Space != "" {
			return fmt.Errorf("<%s> has no attribute %s", name, a.Name.Local)
		}
		p.attr[a.Name.Local] = a.Value
	}
	if name != "service" {
		return nil
	}
	if len(p.found) >= serviceFileServices {
		return fmt.Errorf("more than %d services", serviceFileServices)
	}
	switch p.attr["protocol"] {
	case "", "any", "ipv4", "ipv6":
	default:
		return fmt.Errorf("protocol %q, want any, ipv4 or ipv6", p.attr["protocol"])
	}
	line, _ := p.d.InputPos()
	p.found, p.lines = append(p.found, Instance{}), append(p.lines, line)
	return nil
}

// shut takes an element that is complete.
func (p *serviceParser) shut(name string) error {
	text := p.text.String()
	switch name {
	case "service-group":
		p.closed = true
		if p.name == "" {
			return errors.New("the service-group has no name")
		}
		return nil
	case "name":
		if p.name != "" {
			return errors.New("a second name")
		}
		if p.name = text; p.attr["replace-wildcards"] == "yes" {
			p.name = strings.ReplaceAll(text, "%h", p.host)
		}
		_, err := NormalizeInstance(p.name)
		return err
	}
	i := &p.found[len(p.found)-1]
	if name != "txt-record" {
		text = strings.TrimSpace(text)
	}
	switch name {
	case "service":
		if i.Service == "" {
			return errors.New("the service has no type")
		}
	case "type":
		s, err := ParseService(text)
		if err == nil {
			i.Service = s.String()
		}
		return err
	case "subtype":
		return addSubtype(i, text)
	case "domain-name":
		i.Domain = text
	case "host-name":
		i.Host = text
	case "port":
		n, err := strconv.ParseUint(text, 10, 16)
		i.Port = uint16(n)
		return err
	case "txt-record":
		a, err := decodeAttribute(text, p.attr["value-format"])
		i.TXT = append(i.TXT, a)
		return err
	}
	return nil
}

// addSubtype takes a subtype as Avahi writes it: "_printer._sub._http._tcp".
func addSubtype(i *Instance, text string) error {
	s, err := ParseService(text)
	switch {
	case err != nil:
		return err
	case s.Subtype == "":
		return fmt.Errorf("%w: %q is not a subtype", ErrService, text)
	case len(i.Subtypes) >= subtypesMax:
		return fmt.Errorf("%w: more than %d subtypes", ErrService, subtypesMax)
	}
	i.Subtypes = append(i.Subtypes, s.Subtype)
	return nil
}

// decodeAttribute reads a txt-record, of which the value alone is encoded.
func decodeAttribute(text, format string) (Attribute, error) {
	key, value, found := strings.Cut(text, "=")
	var b []byte
	var err error
	switch format {
	case "", "text":
		return ParseAttribute(text)
	case "binary-hex":
		b, err = hex.DecodeString(value)
	case "binary-base64":
		b, err = base64.StdEncoding.DecodeString(value)
	default:
		err = fmt.Errorf("value-format %q, want text, binary-hex or binary-base64", format)
	}
	if err != nil {
		return Attribute{}, fmt.Errorf("%w: attribute %q: %w", ErrTXT, key, err)
	}
	a := Attribute{Key: key}
	if found {
		a.Value = append([]byte{}, b...)
	}
	return a, a.check()
}
