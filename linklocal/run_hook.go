package linklocal

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"time"
)

const (
	hookLimit = 64               // events that wait for the program; more are dropped
	hookTime  = 10 * time.Second // for one run of the program
)

// Hook words. Claim runs Config.Hook as avahi-autoipd runs its action script,
// with the arguments EVENT INTERFACE ADDRESS, and with the same in the
// environment as AETHER_EVENT, AETHER_INTERFACE, AETHER_ADDRESS, beside
// AETHER_HARDWARE_ADDR and AETHER_REASON. One run follows the other; each is
// killed after 10 seconds. The claim does not wait for them.
const (
	HookBind      = "BIND"      // the address is in use from now on
	HookConflict  = "CONFLICT"  // it was lost to another host
	HookUnbind    = "UNBIND"    // it was given up for another reason
	HookDeprecate = "DEPRECATE" // it is for existing connections only; BIND or UNBIND follows
	HookStop      = "STOP"      // the claim has ended; the address is empty
)

// hookWord returns the word for an event, "" if the hook does not hear of it.
func hookWord(e Event) string {
	switch {
	case e.Kind == EventClaimed || e.Kind == EventRestored:
		return HookBind
	case e.Kind == EventLost && e.Reason == ReasonConflict:
		return HookConflict
	case e.Kind == EventLost || e.Kind == EventReleased:
		return HookUnbind
	case e.Kind == EventDeprecated:
		return HookDeprecate
	}
	return ""
}

// hook runs the program on a goroutine of its own. A nil hook does nothing.
type hook struct {
	path, ifname string
	hw           HardwareAddr
	log          *slog.Logger
	queue        chan hookCall
	ended        chan struct{}
	dropped      int
}

type hookCall struct{ word, addr, reason string }

func startHook(path, ifname string, hw HardwareAddr, log *slog.Logger) *hook {
	if path == "" {
		return nil
	}
	h := &hook{path: path, ifname: ifname, hw: hw, log: log, queue: make(chan hookCall, hookLimit), ended: make(chan struct{})}
	go func() {
		defer close(h.ended)
		for c := range h.queue {
			h.run(c)
		}
	}()
	return h
}

// tell queues the event's word.
func (h *hook) tell(e Event) {
	if h == nil || hookWord(e) == "" {
		return
	}
	h.put(hookCall{hookWord(e), e.Address.String(), e.Reason.String()})
}

func (h *hook) put(c hookCall) {
	select {
	case h.queue <- c:
	default:
		h.dropped++
		h.log.Warn("hook is too slow, event dropped", "event", c.word, "dropped", h.dropped)
	}
}

// stop queues STOP and waits for the program to have heard all, at most as long
// as two runs may take.
func (h *hook) stop() {
	if h == nil {
		return
	}
	h.put(hookCall{word: HookStop})
	close(h.queue)
	select {
	case <-h.ended:
	case <-time.After(2 * hookTime):
		h.log.Warn("hook has not heard everything", "waiting", len(h.queue))
	}
}

func (h *hook) run(c hookCall) {
	ctx, cancel := context.WithTimeout(context.Background(), hookTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.path, c.word, h.ifname, c.addr)
	cmd.WaitDelay = time.Second // for children that keep its output open
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), "AETHER_EVENT="+c.word, "AETHER_INTERFACE="+h.ifname, "AETHER_ADDRESS="+c.addr,
		"AETHER_HARDWARE_ADDR="+h.hw.String(), "AETHER_REASON="+c.reason)
	if err := cmd.Run(); err != nil {
		h.log.Warn("hook failed", "event", c.word, "error", err)
	}
}
