package replica

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/peer"
)

// Methods of requests. Headers and answers are JSON but where speed matters: the body
// of a command is a kv.Command, its answer a kv.Result.
const (
	methodPiece uint16 = peer.FirstMethod + iota
	methodCommand
	methodGet
	methodRange
	methodWatch
	methodStatus
	methodMember
	methodSnapshot
)

// Codes of errors.
const (
	codeNotLeader uint16 = peer.FirstCode + iota // text: the leader's address, or ""
	codeBusy
	codeUncertain
	codeFull
	codeEnded
	codeLagging
	codeRequest
	codeMember
)

var errRequest = errors.New("malformed request")

func pieceHeader(s paxos.Slot, offset uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(s)), offset)
}

// getRequest asks for a key.
type getRequest struct {
	Key   []byte `json:"key"`
	Stale bool   `json:"stale,omitempty"` // as this node has it
}

// getReply answers it.
type getReply struct {
	Found bool     `json:"found"`
	Value kv.Value `json:"value"`
}

// rangeRequest asks for keys.
type rangeRequest struct {
	Prefix []byte `json:"prefix"`
	From   []byte `json:"from"`
	Limit  int    `json:"limit"`
	Stale  bool   `json:"stale,omitempty"`
}

// Pair is a key and what it has.
type Pair struct {
	Key   []byte
	Value kv.Value
}

type rangeReply struct {
	Pairs []Pair     `json:"pairs"`
	More  bool       `json:"more"`
	Slot  paxos.Slot `json:"slot"` // the state's
}

// watchRequest asks for the changes after Since; an answer comes when there is one, or
// after a while without.
type watchRequest struct {
	Prefix []byte     `json:"prefix"`
	Since  paxos.Slot `json:"since"`
}

type watchReply struct {
	Events []kv.Event `json:"events"`
	Since  paxos.Slot `json:"since"` // to ask for next
}

// Status describes a node for people and programs.
type Status struct {
	paxos.Status
	Addresses map[paxos.NodeID]netip.AddrPort
	Connected []paxos.NodeID
	Map       kv.Status
	Disk      DiskStatus
	Wiped     string // where a damaged directory was put aside
}

// DiskStatus is about a node's disk.
type DiskStatus struct {
	Syncs       uint64 // since the start
	Median, P99 time.Duration
	Full        bool
	Dropped     uint64 // messages that found a queue full
}

// memberRequest changes the membership.
type memberRequest struct {
	Action string       `json:"action"` // add, remove, promote, lead
	ID     paxos.NodeID `json:"id"`
	Addr   string       `json:"addr,omitempty"`
	Stay   bool         `json:"stay,omitempty"` // a learner for good
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a type of ours that JSON cannot show
	}
	return b
}
