package dnssd_test

import (
	"context"
	"fmt"
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
