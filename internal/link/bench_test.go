package link

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

func loopback(b *testing.B) (net.Conn, net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	p, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	q, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return p, q
}

const chunk = 1 << 20

// plainTLS times n chunks sent one way over bare TLS.
func plainTLS(b *testing.B, n int) time.Duration {
	p, q := loopback(b)
	var k1, k2 ed25519.PublicKey
	s := tls.Server(q, identity(b, 2).tlsConfig("x", PeerID{}, &k2))
	c := tls.Client(p, identity(b, 1).tlsConfig("x", PeerID{}, &k1))
	defer c.Close()
	defer s.Close()
	go func() {
		body := make([]byte, chunk)
		for range n {
			if _, err := s.Write(body); err != nil {
				return
			}
		}
	}()
	if err := c.Handshake(); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, chunk)
	start := time.Now()
	for range n {
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// framed times n chunks asked for over a Conn, four at a time.
func framed(b *testing.B, n, size int) time.Duration {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	body := make([]byte, size)
	p, q := loopback(b)
	c, s := pair(b, ctx, p, q, config(b, 1, nil), config(b, 2, func(context.Context, PeerID, Message) (Message, error) {
		return Message{Body: body}, nil
	}))
	start := time.Now()
	var wg sync.WaitGroup
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	for range 4 {
		wg.Go(func() {
			for range work {
				m, err := c.Call(ctx, Message{Header: body[:min(32, size)]})
				if err != nil {
					b.Error(err)
					return
				}
				m.Release()
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	c.Close()
	<-c.Done()
	<-s.Done()
	return took
}

// BenchmarkBulk fetches chunks of 1 MiB and reports the speed beside that of bare
// TLS in the same run: "of-tls" is 1 when they are equal.
func BenchmarkBulk(b *testing.B) {
	b.SetBytes(chunk)
	own := framed(b, b.N, chunk)
	bare := plainTLS(b, b.N)
	b.ReportMetric(bare.Seconds()/own.Seconds(), "of-tls")
	b.ReportMetric(float64(own.Nanoseconds())/float64(b.N), "ns/op")
}

// BenchmarkSmall asks for 128 bytes, four callers at a time.
func BenchmarkSmall(b *testing.B) { framed(b, b.N, 128) }
