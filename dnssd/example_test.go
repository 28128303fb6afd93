package dnssd_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/aether-lan/aether/dnssd"
)

func ExampleRegister() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // says goodbye
	txt := dnssd.TXT{{Key: "txtvers", Value: []byte("1")}, {Key: "path", Value: []byte("/")}}
	r, err := dnssd.Register(ctx, dnssd.Instance{Name: "My page", Service: "_http._tcp", Port: 8080, TXT: txt}, dnssd.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("on offer as", r.Instance().Name) // "My page (2)" when the name was in use
}

func ExampleBrowse() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for ev, err := range dnssd.Browse(ctx, "_ipp._tcp", dnssd.Config{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch i := ev.Instance; ev.Op {
		case dnssd.Add, dnssd.Update:
			fmt.Printf("%s on %s: %s port %d, %v\n", i.Name, i.Interface, i.Host, i.Port, i.Addresses)
		case dnssd.Remove:
			fmt.Printf("%s is gone: %v\n", i.Name, ev.Reason)
		}
	}
}

func ExampleResolve() {
	i, err := dnssd.Resolve(context.Background(), "Office", "_ipp._tcp", dnssd.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(i.Host, i.Port, i.Addresses)
}

func ExampleTypes() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for ev, err := range dnssd.Types(ctx, dnssd.Config{}) {
		if err == nil && ev.Op == dnssd.Add {
			fmt.Println(ev.Service)
		}
	}
}

func ExampleDomains() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for ev, err := range dnssd.Domains(ctx, dnssd.BrowseDomains, dnssd.Config{}) {
		if err == nil && ev.Op == dnssd.Add {
			fmt.Println(ev.Domain, "is recommended by", ev.Source)
		}
	}
}

func ExampleRegisterAll() {
	printer := []dnssd.Instance{
		{Name: "Office", Service: "_ipp._tcp", Port: 631, Flagship: "_printer._tcp"},
		{Name: "Office", Service: "_pdl-datastream._tcp", Port: 9100, Flagship: "_printer._tcp"},
	}
	offered, err := dnssd.RegisterAll(context.Background(), printer, dnssd.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range offered {
		defer func() { _ = r.Close() }()
	}
}

func ExampleParseServiceFile() {
	const file = `<service-group>
	  <name replace-wildcards="yes">Files on %h</name>
	  <service><type>_webdav._tcp</type><port>8080</port><txt-record>path=/</txt-record></service>
	</service-group>`
	list, err := dnssd.ParseServiceFile(strings.NewReader(file), "files.service", "box")
	fmt.Println(list[0].Name, list[0].Port, list[0].TXT.Strings(), err)
	_, err = dnssd.ParseServiceFile(strings.NewReader("<service-group>\n<nme>"), "bad.service", "box")
	fmt.Println(err)
	// Output:
	// Files on box 8080 [path=/] <nil>
	// dnssd: bad file: bad.service:2: <nme> may not be here
}

func ExampleWriteZone() {
	found := []dnssd.Instance{{
		Name: "My page", Service: "_http._tcp", Host: "box.local", Port: 80,
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, TXT: dnssd.TXT{{Key: "path", Value: []byte("/")}},
	}}
	if err := dnssd.WriteZone(os.Stdout, "example.com", found); err != nil {
		fmt.Println(err)
	}
	// Output:
	// $ORIGIN example.com.
	// $TTL 4500
	//
	// ; Where to browse.
	// b._dns-sd._udp                           PTR   @
	// lb._dns-sd._udp                          PTR   @
	//
	// ; My\ page
	// _services._dns-sd._udp                   PTR   _http._tcp
	// _http._tcp                               PTR   My\ page._http._tcp
	// My\ page._http._tcp                      SRV   0 0 80 box
	// My\ page._http._tcp                      TXT   "path=/"
	//
	// ; Hosts.
	// box                                      A     192.0.2.1
}

func ExampleFullName() {
	n := dnssd.FullName{Instance: "Dr. No", Service: "_http._tcp", Domain: dnssd.Local}
	fmt.Println(n)
	fmt.Println(n.Presentation())
	// Output:
	// Dr\. No._http._tcp.local
	// Dr\.\ No._http._tcp.local.
}

func ExampleTXT_Get() {
	txt, _ := dnssd.ParseTXT([]byte("\x07passreq\x08PlugIns=\x0bPaper=A4,A5\x08paper=A3"))
	for _, key := range []string{"PassReq", "plugins", "paper", "color"} {
		value, state := txt.Get(key)
		fmt.Printf("%s: %q %v\n", key, value, state)
	}
	// Output:
	// PassReq: "" no value
	// plugins: "" empty value
	// paper: "A4,A5" value
	// color: "" absent
}

func ExampleRename() {
	fmt.Println(dnssd.Rename("Office"))
	fmt.Println(dnssd.Rename("Office (2)"))
	// Output:
	// Office (2)
	// Office (3)
}
