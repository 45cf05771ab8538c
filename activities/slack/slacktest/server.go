// Package slacktest is an emulator of Slack for tests: its Web API as far as muster uses it, the interactions that people's
// clicks cause, over HTTP and over Socket Mode. It is no Slack: it is as strict as Slack's documentation
// (https://docs.slack.dev), and can be told to fail in the ways that Slack and networks do.
package slacktest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Server is one workspace, with one app that is installed in it. The fields may be read, not written, once it was made.
type Server struct {
	API           string // base URL for slack.OptionAPIURL, with a slash at its end
	BotToken      string
	AppToken      string
	SigningSecret string
	Team          string // the workspace's ID
	AppID         string
	BotID         string

	t        testing.TB
	address  string
	listener net.Listener
	server   *http.Server

	mu         sync.Mutex
	channels   map[string]*channel
	users      map[string]User
	ephemerals []Ephemeral
	views      map[string]*View
	triggers   map[string]trigger
	faults     map[string][]Fault
	limits     map[string]*limit
	calls      map[string]int
	tickets    map[string]bool
	links      []*link
	waiting    map[string]chan Ack // by envelope ID
	last       time.Time           // of the newest ts
	changed    *sync.Cond
}

// User is a person or bot as users.info knows them.
type User struct {
	ID              string
	Team            string // default: the workspace
	Name            string
	Restricted      bool // multi-channel guest
	UltraRestricted bool // single-channel guest
	Stranger        bool // of another workspace, seen through Slack Connect
	Deleted         bool
	Bot             bool
}

// Message is a message as a channel keeps it.
type Message struct {
	TS        string
	Thread    string // ts of the thread's parent; empty outside of threads
	Text      string
	Blocks    json.RawMessage
	Metadata  json.RawMessage
	Broadcast bool
	Edits     int
	Bot       string // who posted it
	replies   int
}

// Ephemeral is a message that one person saw.
type Ephemeral struct{ Channel, User, Thread, Text string }

// View is a modal.
type View struct {
	ID, Hash, User string
	Open           bool
	Errors         map[string]string // that the app answered its last submission with
	Body           map[string]any    // as views.open was given it
}

type channel struct {
	id, name string
	member   bool // the app is
	archived bool
	people   map[string]bool // nil: everybody
	messages []*Message
}

type trigger struct {
	user string
	made time.Time
	view string // that it opened
}

// New starts a workspace with the channel C0GENERAL, which the app is a member of, and the person U0ADA. It stops with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		t: t, BotToken: "xoxb-" + token(12), AppToken: "xapp-1-" + token(12), SigningSecret: token(16),
		Team: "T00MUSTER", AppID: "A0MUSTER", BotID: "B0MUSTER",
		channels: map[string]*channel{}, users: map[string]User{}, views: map[string]*View{}, triggers: map[string]trigger{},
		faults: map[string][]Fault{}, limits: map[string]*limit{}, calls: map[string]int{}, tickets: map[string]bool{},
		waiting: map[string]chan Ack{},
	}
	s.changed = sync.NewCond(&s.mu)
	s.AddChannel("C0GENERAL", "general")
	s.AddUser(User{ID: "U0ADA", Name: "ada"})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("slacktest: listen: %v", err)
	}
	s.address = listener.Addr().String()
	s.API = "http://" + s.address + "/api/"
	s.serve(listener)
	t.Cleanup(s.Down)
	return s
}

func (s *Server) serve(listener net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/{method}", s.call)
	mux.HandleFunc("/link/", s.socket)
	mux.HandleFunc("/actions/", func(w http.ResponseWriter, _ *http.Request) {
		s.count("response_url")
		w.WriteHeader(http.StatusOK)
	})
	s.listener = listener
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func(server *http.Server) { _ = server.Serve(listener) }(s.server)
}

// Down makes every connection be refused, those that are open are cut. What was posted stays.
func (s *Server) Down() {
	_ = s.listener.Close() // not left to the server, which may not serve yet
	_ = s.server.Close()
	s.mu.Lock()
	links := s.links
	s.links = nil
	s.mu.Unlock()
	for _, l := range links {
		l.close()
	}
}

// Up ends Down, on the same port.
func (s *Server) Up() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatalf("slacktest: listen again: %v", err)
	}
	s.serve(listener)
}

// AddChannel makes a channel that the app and everybody is a member of.
func (s *Server) AddChannel(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels[id] = &channel{id: id, name: name, member: true}
}

// Leave takes the app out of a channel.
func (s *Server) Leave(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels[id].member = false
}

// Archive archives a channel.
func (s *Server) Archive(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels[id].archived = true
}

// Only makes these people the only ones in a channel.
func (s *Server) Only(id string, users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels[id].people = map[string]bool{}
	for _, user := range users {
		s.channels[id].people[user] = true
	}
}

// AddUser adds or replaces a person.
func (s *Server) AddUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.Team == "" {
		u.Team = s.Team
	}
	s.users[u.ID] = u
}

// Say posts a message as somebody else, with blocks (JSON) where there are any, unchecked. It returns its ts.
func (s *Server) Say(channel, text string, blocks ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &Message{TS: s.stamp(), Text: text, Bot: "somebody"}
	if len(blocks) > 0 {
		m.Blocks = json.RawMessage(blocks[0])
	}
	s.channels[channel].messages = append(s.channels[channel].messages, m)
	return m.TS
}

// Delete removes a message, as a person can.
func (s *Server) Delete(channel, ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channel]
	for i, m := range c.messages {
		if m.TS == ts {
			c.messages = append(c.messages[:i:i], c.messages[i+1:]...)
			return
		}
	}
}

// stamp makes a ts: Slack's time, and unique.
func (s *Server) stamp() string {
	now := time.Now().Truncate(time.Microsecond)
	if !now.After(s.last) {
		now = s.last.Add(time.Microsecond)
	}
	s.last = now
	return fmt.Sprintf("%d.%06d", now.Unix(), now.Nanosecond()/1000)
}

func token(n int) string {
	text := make([]byte, n)
	_, _ = rand.Read(text)
	return hex.EncodeToString(text)
}
