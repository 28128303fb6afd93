package peer

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/dht/topics"
	"github.com/aether-lan/aether/internal/link"
)

// Methods of requests, of clients and of nodes to each other. Headers and answers are
// JSON but where speed matters: the body of methodDo is an encoded records.Request, its
// answer a records.Response.
const (
	methodDo     uint16 = firstMethod + iota // wherever the record is
	methodDoHere                             // by the node that is asked, or not at all
	methodLookup
	methodStatus
	methodJoin
	methodScan
	methodSend
	methodPublish
	methodAnycast
	methodSubscribe
	methodFetch
	methodAnswer
	methodWatch
	methodWatchHere
	methodEnd
	methodOutcome
)

// Codes of errors that cross a connection.
const (
	codeBusy = link.CodeUser + iota
	codeEnded
	codeRequest
	codeNotFound
	codeNoMajority
	codeDeadline
	codeRefused
	codeNobody
	codeNoService
	codeTooLarge
	codeNoRoute
	codeSession
	codeInvalid
	codeMoved
)

var (
	errRequest = errors.New("malformed request")
	// ErrSession reports a subscription or watch that the node has forgotten, because
	// nobody asked for what it had for too long.
	ErrSession = errors.New("the node has forgotten this subscription")
)

// codes are the errors that the other end can tell apart.
var codes = []struct {
	err  error
	code uint16
}{
	{ErrBusy, codeBusy}, {ErrEnded, codeEnded}, {errRequest, codeRequest}, {ErrNotFound, codeNotFound},
	{ErrNoMajority, codeNoMajority}, {topics.ErrDeadline, codeDeadline}, {topics.ErrRefused, codeRefused},
	{topics.ErrNobody, codeNobody}, {ErrNoService, codeNoService}, {topics.ErrTooLarge, codeTooLarge},
	{dht.ErrNoRoute, codeNoRoute}, {dht.ErrTooLong, codeNoRoute}, {ErrSession, codeSession}, {topics.ErrName, codeInvalid},
	{errMoved, codeMoved},
}

// asLink gives an error that crosses a connection a code by which the other end knows
// it.
func asLink(err error) error {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &link.Error{Code: c.code, Text: err.Error()}
		}
	}
	return err
}

// remoteError is an error of the other end: its text, and what it is.
type remoteError struct {
	text string
	err  error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.err }

// fromLink gives an error of the other end its name again.
func fromLink(err error) error {
	var e *link.Error
	if !errors.As(err, &e) {
		return err
	}
	for _, c := range codes {
		if c.code == e.Code {
			return &remoteError{e.Text, c.err}
		}
	}
	return &remoteError{e.Text, err}
}

// encode writes what cannot fail to be JSON.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types of this file marshal
	}
	return b
}

// decode reads a header of a request.
func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	return nil
}

func appendRequest(q records.Request) []byte {
	return records.AppendMessage(nil, records.Ask{Request: q})
}

func parseRequest(b []byte) (records.Request, error) {
	m, err := records.ParseMessage(b)
	a, ok := m.(records.Ask)
	if err != nil || !ok {
		return records.Request{}, fmt.Errorf("%w: %w", errRequest, err)
	}
	return a.Request, nil
}

func appendResponse(r records.Response) []byte {
	return records.AppendMessage(nil, records.Reply{Response: r})
}

func parseResponse(b []byte) (records.Response, error) {
	m, err := records.ParseMessage(b)
	a, ok := m.(records.Reply)
	if err != nil || !ok {
		return records.Response{}, fmt.Errorf("dht/peer: malformed response: %w", err)
	}
	return a.Response, nil
}
