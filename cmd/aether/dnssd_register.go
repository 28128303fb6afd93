package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
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
			"published too.\n" +
			"Exit status: 0 after an interrupt, 1 when it could not be registered within --timeout." +
			examples(`aether dnssd register 'My page' _http._tcp 8080 path=/index.html`),
		Flags: zeroconfFlags(
			waitFlag("give up when it is not registered within `TIME` (0: never)", 0),
			&cli.StringSliceFlag{Name: "subtype", Usage: "be found under the subtype `SUB` too (repeatable)"},
			&cli.StringFlag{Name: "host", Usage: "the service is on `HOST`"},
			&cli.StringSliceFlag{Name: "address", Usage: "publish `ADDR` for --host (repeatable)"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 3, -1); err != nil {
				return err
			}
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			inst, err := instanceOf(c)
			if err != nil {
				return usage("%w", err)
			}
			return dnssdRegister(c.Context, inst, z)
		},
	}
}

// instanceOf reads the arguments.
func instanceOf(c *cli.Context) (dnssd.Instance, error) {
	args := c.Args().Slice()
	inst := dnssd.Instance{Name: args[0], Service: args[1], Host: c.String("host"), Subtypes: c.StringSlice("subtype")}
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

func dnssdRegister(ctx context.Context, inst dnssd.Instance, z zeroconf) error {
	for _, w := range inst.TXT.Warnings() {
		fmt.Fprintln(z.errw, "warning:", printable(w))
	}
	asked, err := dnssd.NormalizeInstance(inst.Name)
	if err != nil {
		return err
	}
	life, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := z.register(life, cancel, inst)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer r.Close()
	if name := r.Instance().Name; name != asked {
		if err := printRenamed(z.out, asked, r.Instance()); err != nil {
			return err
		}
	}
	last := r.Instance()
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
			if ctx.Err() != nil {
				return z.out.event("goodbye", "goodbye "+printable(last.Name), registeredFields(last)...)
			}
			return r.Err()
		}
	}
}

// register waits for the first announcement no longer than --timeout.
func (z zeroconf) register(life context.Context, cancel context.CancelCauseFunc, inst dnssd.Instance) (*dnssd.Registration, error) {
	if z.timeout > 0 {
		late := fmt.Errorf("not registered within %v", z.timeout)
		timer := time.AfterFunc(z.timeout, func() { cancel(late) })
		defer timer.Stop()
	}
	return dnssd.Register(life, inst, z.dnssd())
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
