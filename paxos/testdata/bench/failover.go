package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/replica"
)

// outage is how long a cluster of real processes took nothing after kill -9 of its
// leader.
type outage struct {
	Round    int     `json:"round"`
	Election float64 `json:"election_ms"`
	Millis   float64 `json:"outage_ms"`
	Ratio    float64 `json:"outage_over_election"`
}

// cluster are processes of aether paxos serve.
type cluster struct {
	o     options
	bin   string
	dir   string
	addrs []netip.AddrPort
	run   map[int]*exec.Cmd
}

// failover kills the leader again and again while one client writes, and measures from
// the kill to the answer of the first command that was made after it.
func failover(ctx context.Context, o options, rep *report) error {
	dir, err := os.MkdirTemp(o.dir, "bench-failover-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := &cluster{o: o, dir: dir, bin: filepath.Join(dir, "aether"), run: map[int]*exec.Cmd{}}
	defer func() {
		for i := range c.run {
			c.kill(i)
		}
	}()
	if err := c.build(ctx); err != nil {
		return err
	}
	for i := range replicas {
		if err := c.start(i); err != nil {
			return err
		}
	}
	client := replica.NewClient(replica.ClientConfig{Endpoints: c.addrs})
	defer client.Close()
	for round := range o.rounds {
		leader, err := c.whole(ctx, client)
		if err != nil {
			return err
		}
		at, err := c.write(ctx, client, func() { c.kill(leader) })
		if err != nil {
			return err
		}
		rep.outage(outage{round, o.election.Seconds() * 1000, at.Seconds() * 1000, at.Seconds() / o.election.Seconds()})
		if err := c.start(leader); err != nil {
			return err
		}
	}
	return nil
}

// build builds aether from the module that this one measures.
func (c *cluster) build(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aether-lan/aether").Output()
	if err != nil {
		return fmt.Errorf("where aether is: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", c.bin, "./cmd/aether")
	cmd.Dir, cmd.Env = strings.TrimSpace(string(root)), append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build aether: %w: %s", err, b)
	}
	for range replicas {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer ln.Close()
		c.addrs = append(c.addrs, netip.MustParseAddrPort(ln.Addr().String()))
	}
	return nil
}

func (c *cluster) start(i int) error {
	var peers []string
	for k, a := range c.addrs {
		peers = append(peers, fmt.Sprintf("%d=%v", k+1, a))
	}
	cmd := exec.Command(c.bin, "paxos", "serve", "--id", fmt.Sprint(i+1), "--peers", strings.Join(peers, ","),
		"--dir", filepath.Join(c.dir, fmt.Sprint(i+1)), "--election", c.o.election.String())
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+c.dir)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		return err
	}
	c.run[i] = cmd
	return nil
}

func (c *cluster) kill(i int) {
	_ = c.run[i].Process.Kill()
	_ = c.run[i].Wait()
	delete(c.run, i)
}

// whole waits until all nodes follow one leader and have all that was chosen, and
// returns it.
func (c *cluster) whole(ctx context.Context, client *replica.Client) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		leader, ready := -1, 0
		for i, a := range c.addrs {
			s, err := client.Status(ctx, a)
			if err != nil || s.Leader == 0 {
				continue
			}
			if ready++; s.Role == paxos.Leading && len(s.Connected) == replicas-1 { // those it has heard
				leader = i
			}
		}
		if leader >= 0 && ready == replicas {
			return leader, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("the cluster is not whole: %w", ctx.Err())
		}
	}
}

// write writes all the time, has the leader killed in between, and returns how long
// after that a command that began later, or was under way, was answered.
func (c *cluster) write(ctx context.Context, client *replica.Client, kill func()) (time.Duration, error) {
	put := func() error {
		_, err := client.Do(ctx, kv.Command{Op: kv.Put, Key: []byte("bench"), Value: make([]byte, 16)})
		if errors.Is(err, kv.ErrSession) { // it may have been made: the next one tells
			return nil
		}
		return err
	}
	for end := time.Now().Add(c.o.election); time.Now().Before(end); {
		if err := put(); err != nil {
			return 0, err
		}
	}
	at := time.Now()
	kill()
	for {
		began := time.Now()
		err := put()
		if err != nil {
			return 0, err
		}
		// One that was answered at once had left before the kill.
		if time.Since(began) > c.o.election/10 || time.Since(at) > c.o.election {
			return time.Since(at), nil
		}
	}
}
