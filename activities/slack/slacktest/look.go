package slacktest

import "time"

// Messages returns what stands in a channel, threads included, the oldest first.
func (s *Server) Messages(channel string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Message
	if c := s.channels[channel]; c != nil {
		for _, m := range c.messages {
			all = append(all, *m)
		}
	}
	return all
}

// Ephemerals returns what was shown to one person each, in order.
func (s *Server) Ephemerals() []Ephemeral {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Ephemeral(nil), s.ephemerals...)
}

// Views returns the modals that a person has open.
func (s *Server) Views(user string) []View {
	s.mu.Lock()
	defer s.mu.Unlock()
	var open []View
	for _, v := range s.views {
		if v.User == user && v.Open {
			open = append(open, *v)
		}
	}
	return open
}

// Calls returns how often a method was called; "response_url" counts uses of any.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Await waits until done is true; it is asked again whenever something changed. It reports whether it was within limit.
// done may call the methods of Server.
func (s *Server) Await(limit time.Duration, done func() bool) bool {
	deadline := time.Now().Add(limit)
	alarm := time.AfterFunc(limit, s.signal)
	defer alarm.Stop()
	for {
		s.mu.Lock()
		version := s.version()
		s.mu.Unlock()
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		s.mu.Lock()
		for s.version() == version && !time.Now().After(deadline) {
			s.changed.Wait()
		}
		s.mu.Unlock()
	}
}

func (s *Server) signal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

// version changes with everything that a test may wait for.
func (s *Server) version() int {
	n := len(s.ephemerals) + len(s.links) + len(s.views)
	for _, calls := range s.calls {
		n += calls
	}
	return n
}

func (s *Server) count(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method]++
	s.changed.Broadcast()
}
