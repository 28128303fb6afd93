package peer

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/netip"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/paxos"
)

// Client is a connection of somebody who is no node, to one.
type Client struct{ c *link.Conn }

// Dial connects to a node of the cluster. The connection lives until ctx ends or it is
// closed. key may be nil.
func Dial(ctx context.Context, addr netip.AddrPort, cluster paxos.ClusterID, key ed25519.PrivateKey, secret []byte) (*Client, error) {
	cfg, err := linkConfig(cluster, key, secret)
	if err != nil {
		return nil, fmt.Errorf("paxos/peer: %w", err)
	}
	c, err := link.Dial(ctx, addr, link.PeerID{}, cfg)
	if err != nil {
		return nil, fmt.Errorf("paxos/peer: %w", err)
	}
	return &Client{c}, nil
}

// Call asks the node; see [Mesh.Call].
func (c *Client) Call(ctx context.Context, method uint16, header, body []byte) (h, b []byte, err error) {
	return call(ctx, c.c, method, header, body)
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.c.Done() }

// Close ends the connection.
func (c *Client) Close() error { return c.c.Close() }
