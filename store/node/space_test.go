package node

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/place"
	"github.com/aether-lan/aether/store/pool"
)

// poolOf starts machines with these spaces that know each other, and waits until each
// knows what the others have set aside.
func poolOf(t *testing.T, copies int, spaces ...int64) []*host {
	t.Helper()
	dir, secret := t.TempDir(), pool.NewSecret()
	var hosts []*host
	var peers []netip.AddrPort
	for i, space := range spaces {
		d := filepath.Join(dir, fmt.Sprintf("m%d", i))
		if _, err := Init(Config{Dir: d, Set: Settings{Name: filepath.Base(d), Space: space, Copies: copies, Laptop: "no"}}, secret); err != nil {
			t.Fatal(err)
		}
		h := serve(t, d, secret, peers...)
		hosts, peers = append(hosts, h), append(peers, h.addr)
	}
	knowing(t, hosts...)
	return hosts
}

// joining starts one more machine of the pool of hosts.
func joining(t *testing.T, dir string, hosts []*host, space int64) *host {
	t.Helper()
	d := filepath.Join(dir, "joining")
	set := Settings{Name: "joining", Space: space, Copies: hosts[0].settings.Copies, Laptop: "no"}
	if _, err := Init(Config{Dir: d, Set: set}, hosts[0].pool.Secret()); err != nil {
		t.Fatal(err)
	}
	h := serve(t, d, hosts[0].pool.Secret(), peersOf(hosts...)...)
	knowing(t, append(hosts, h)...)
	return h
}

// knowing waits until all hosts know each other's usage.
func knowing(t *testing.T, hosts ...*host) {
	t.Helper()
	eventually(t, "all know each other's space", func() bool {
		for _, h := range hosts {
			known := 0
			_ = h.core.call(t.Context(), func() {
				for _, o := range hosts {
					if _, ok := h.core.usageOf(time.Now(), o.ID()); ok && h.core.members.byID[o.ID()].Space > 0 {
						known++
					}
				}
			})
			if known < len(hosts) {
				return false
			}
		}
		return true
	})
}

// tryPut stores one file and returns why not.
func (h *host) tryPut(ctx context.Context, name string, body []byte) error {
	var refused error
	err := h.client.Put(ctx, "/", func(tw *tar.Writer) error {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o644}); err != nil {
			return err
		}
		_, err := tw.Write(body)
		return err
	}, func(s Stored) {
		if s.Error != "" {
			refused = problem{s.Error, s.Code}.err()
		}
	})
	return errors.Join(err, refused)
}

// fill stores files until one is refused, and returns how many were stored. The copies
// have room to be made, so they are waited for now and then.
func fill(t *testing.T, hosts []*host, prefix string, size int) (files int) {
	t.Helper()
	for {
		err := hosts[0].tryPut(t.Context(), fmt.Sprintf("%s%d", prefix, files), randomBytes(byte(files)^prefix[0], size))
		if errors.Is(err, store.ErrFull) {
			t.Logf("after %d files: %v", files, err)
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files++; files > 1000 {
			t.Fatal("the pool never gets full")
		}
	}
}

// A pool of unequal machines is written until it is full, and says so to the writer;
// all that was taken gets its copies. What is removed makes room again.
func TestSpace_FillDeleteFill(t *testing.T) {
	if testing.Short() {
		t.Skip("fills disks for ten seconds: run without -short")
	}
	const size = 512 << 10
	spaces := []int64{48 << 20, 32 << 20, 24 << 20}
	hosts := poolOf(t, 2, spaces...)
	files := fill(t, hosts, "a", size)
	bound := place.Capacity(spaces, 2)
	share := float64(files*size) / float64(bound)
	t.Logf("%d files of 512 KiB in two copies on machines of 48, 32 and 24 MiB: %.3f of the %d MiB that could be", files, share, bound>>20)
	if share < .80 || share > 1 {
		t.Errorf("refused at %.3f of the bound", share)
	}
	hosts[0].flush(t)
	eventually(t, "the drive is almost full", func() bool {
		_, free := hosts[1].PoolSpace()
		return free < bound/6
	})
	for i := range files / 2 {
		if err := hosts[2].client.Remove(t.Context(), fmt.Sprintf("/a%d", i), false); err != nil {
			t.Fatalf("remove from a full drive: %v", err)
		}
	}
	eventually(t, "there is room again", func() bool {
		for _, h := range hosts {
			if _, free := h.PoolSpace(); free <= bound/4 {
				return false
			}
		}
		return true
	})
	again := fill(t, hosts, "b", size)
	t.Logf("after half was removed %d files more", again)
	if again < files/4 {
		t.Errorf("%d files after %d of %d were removed", again, files/2, files)
	}
	hosts[0].flush(t)
}
