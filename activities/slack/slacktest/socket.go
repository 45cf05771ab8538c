package slacktest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// maxAck is the size from which on Slack drops an acknowledgement over Socket Mode without a word.
const maxAck = 20 * 1024

// link is one Socket Mode connection.
type link struct {
	mu   sync.Mutex // of writes
	conn *websocket.Conn
}

func (l *link) write(v any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return l.conn.WriteJSON(v)
}

func (l *link) close() { _ = l.conn.Close() }

// openConnection is apps.connections.open: a URL with a ticket that is good once. Runs with s.mu held.
func (s *Server) openConnection(args) (map[string]any, error) {
	if len(s.links) >= 10 {
		return nil, fail("too_many_websockets")
	}
	ticket := token(16)
	s.tickets[ticket] = true
	return map[string]any{"url": "ws://" + strings.TrimSuffix(strings.TrimPrefix(s.API, "http://"), "/api/") + "/link/?ticket=" + ticket + "&app_id=" + s.AppID}, nil
}

func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	ticket := r.URL.Query().Get("ticket")
	s.mu.Lock()
	good := s.tickets[ticket]
	delete(s.tickets, ticket)
	s.mu.Unlock()
	if !good {
		http.Error(w, "invalid ticket", http.StatusUnauthorized)
		return
	}
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	l := &link{conn: conn}
	s.mu.Lock()
	count := len(s.links) + 1
	s.mu.Unlock()
	if l.write(map[string]any{
		"type": "hello", "num_connections": count, "connection_info": map[string]any{"app_id": s.AppID},
		"debug_info": map[string]any{"host": "applink-slacktest", "build_number": 1, "approximate_connection_time": 18060},
	}) != nil {
		l.close()
		return
	}
	s.mu.Lock()
	s.links = append(s.links, l)
	s.changed.Broadcast()
	s.mu.Unlock()
	done := make(chan struct{})
	go l.ping(done)
	s.listen(l)
	close(done)
	s.drop(l)
}

// ping is what clients take for a sign of life.
func (l *link) ping(done chan struct{}) {
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		if l.conn.WriteControl(websocket.PingMessage, []byte("ping from applink-slacktest"), time.Now().Add(time.Second)) != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-done:
			return
		}
	}
}

// listen takes acknowledgements until the connection ends.
func (s *Server) listen(l *link) {
	for {
		_, message, err := l.conn.ReadMessage()
		if err != nil {
			return
		}
		var ack struct {
			Envelope string          `json:"envelope_id"`
			Payload  json.RawMessage `json:"payload"`
		}
		if json.Unmarshal(message, &ack) != nil || len(message) > maxAck {
			continue
		}
		s.mu.Lock()
		waiting := s.waiting[ack.Envelope]
		delete(s.waiting, ack.Envelope)
		s.mu.Unlock()
		if waiting != nil {
			waiting <- Ack{Status: http.StatusOK, Body: ack.Payload}
		}
	}
}

func (s *Server) drop(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, one := range s.links {
		if one == l {
			s.links = append(s.links[:i:i], s.links[i+1:]...)
			break
		}
	}
	s.changed.Broadcast()
	l.close()
}

// Connections returns how many Socket Mode connections are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.links)
}

// Refresh asks the clients to connect again and closes their connections, as Slack does every few hours.
func (s *Server) Refresh() {
	s.mu.Lock()
	links := append([]*link(nil), s.links...)
	s.mu.Unlock()
	for _, l := range links {
		_ = l.write(map[string]any{"type": "disconnect", "reason": "refresh_requested", "debug_info": map[string]any{"host": "applink-slacktest"}})
	}
}

// Send delivers an interaction over one of the app's Socket Mode connections and waits three seconds for its acknowledgement.
func (s *Server) Send(i Interaction) (Ack, error) {
	s.mu.Lock()
	if len(s.links) == 0 {
		s.mu.Unlock()
		return Ack{}, errors.New("slacktest: the app has no Socket Mode connection")
	}
	l := s.links[len(s.waiting)%len(s.links)]
	envelope := fmt.Sprintf("%s-%s", token(4), token(6))
	answered := make(chan Ack, 1)
	s.waiting[envelope] = answered
	s.mu.Unlock()
	began := time.Now()
	if err := l.write(map[string]any{
		"type": "interactive", "envelope_id": envelope, "accepts_response_payload": true, "payload": json.RawMessage(i.Payload),
	}); err != nil {
		return Ack{}, fmt.Errorf("slacktest: send over Socket Mode: %w", err)
	}
	timer := time.NewTimer(3 * time.Second)
	defer timer.Stop()
	select {
	case ack := <-answered:
		ack.Took = time.Since(began)
		s.acknowledged(i, ack)
		return ack, nil
	case <-timer.C:
		return Ack{}, errors.New("slacktest: the click was not acknowledged within three seconds")
	}
}
