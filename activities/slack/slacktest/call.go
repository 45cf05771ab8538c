package slacktest

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Fault is how one call fails. The zero Fault does not.
type Fault struct {
	Status     int           // HTTP status instead of an answer: 429, 500, 503
	RetryAfter time.Duration // with 429
	Error      string        // an answer with ok: false
	Delay      time.Duration // before anything happens
	Drop       bool          // the connection is cut before the call takes effect
	Lose       bool          // the call takes effect, then the connection is cut: its answer is lost
}

// Fail makes the next calls of a method fail, one by each fault in turn; "*" is any method.
func (s *Server) Fail(method string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[method] = append(s.faults[method], faults...)
}

// limit is a rate limit: so many calls within a window.
type limit struct {
	calls  int
	window time.Duration
	made   []time.Time
}

// Limit answers 429 with Retry-After to whoever calls a method more often than calls times within window.
func (s *Server) Limit(method string, calls int, window time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits[method] = &limit{calls: calls, window: window}
}

// allow says how long to wait; 0 where the call is within the limit.
func (l *limit) allow(now time.Time) time.Duration {
	for len(l.made) > 0 && now.Sub(l.made[0]) >= l.window {
		l.made = l.made[1:]
	}
	if l.calls == 0 {
		return l.window
	}
	if len(l.made) >= l.calls {
		return l.window - now.Sub(l.made[0])
	}
	l.made = append(l.made, now)
	return 0
}

// args are a call's arguments: a form's values, or a JSON body's (values that are no strings as JSON text).
type args struct {
	url.Values
	token string
}

// failure is an answer with ok: false.
type failure struct {
	Code     string
	Messages []string
}

func (f failure) Error() string { return f.Code }

func fail(code string, messages ...string) error { return failure{code, messages} }

type method struct {
	run  func(s *Server, a args) (map[string]any, error)
	json bool // takes application/json too
	app  bool // wants the app-level token
}

var methods = map[string]method{
	"auth.test":             {run: (*Server).authTest, json: true},
	"chat.postMessage":      {run: (*Server).postMessage, json: true},
	"chat.update":           {run: (*Server).updateMessage, json: true},
	"chat.postEphemeral":    {run: (*Server).postEphemeral, json: true},
	"conversations.history": {run: (*Server).history},
	"conversations.replies": {run: (*Server).replies},
	"users.info":            {run: (*Server).userInfo},
	"views.open":            {run: (*Server).openView, json: true},
	"apps.connections.open": {run: (*Server).openConnection, json: true, app: true},
}

func (s *Server) call(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("method")
	fault, wait := s.next(name)
	if fault.Delay > 0 {
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	var result map[string]any
	var err error
	if fault.fine() && wait == 0 {
		result, err = s.dispatch(name, r)
	}
	s.count(name) // after it took effect, before it is answered: a test that waits for a call sees what it did
	switch {
	case fault.Drop, fault.Lose:
		hangUp(w)
	case fault.Status != 0:
		if fault.Status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", fmt.Sprint(int(max(fault.RetryAfter, time.Second).Seconds())))
		}
		http.Error(w, http.StatusText(fault.Status), fault.Status)
	case wait > 0:
		w.Header().Set("Retry-After", fmt.Sprint(int(wait.Seconds())+1))
		w.WriteHeader(http.StatusTooManyRequests)
		answer(w, nil, fail("ratelimited"))
	case fault.Error != "":
		answer(w, nil, fail(fault.Error))
	default:
		answer(w, result, err)
	}
}

// fine says whether a call takes effect in spite of the fault.
func (f Fault) fine() bool { return !f.Drop && f.Status == 0 && f.Error == "" }

// next returns the fault that is due, and how long the caller's rate limit makes it wait.
func (s *Server) next(name string) (Fault, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range []string{name, "*"} {
		if queue := s.faults[key]; len(queue) > 0 {
			s.faults[key] = queue[1:]
			return queue[0], 0
		}
	}
	if l := s.limits[name]; l != nil {
		return Fault{}, l.allow(time.Now())
	}
	return Fault{}, 0
}

func (s *Server) dispatch(name string, r *http.Request) (map[string]any, error) {
	m, known := methods[name]
	if !known {
		return nil, fail("unknown_method")
	}
	a, err := parse(r, m.json)
	if err != nil {
		return nil, err
	}
	want, other := s.BotToken, s.AppToken
	if m.app {
		want, other = other, want
	}
	switch a.token {
	case want:
	case "":
		return nil, fail("not_authed")
	case other:
		return nil, fail("not_allowed_token_type")
	default:
		return nil, fail("invalid_auth")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.run(s, a)
}

// parse reads arguments as https://docs.slack.dev/apis/web-api says: a form, or JSON with its token in the header.
func parse(r *http.Request, takesJSON bool) (args, error) {
	a := args{Values: url.Values{}}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		a.token = bearer
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return a, fail("request_timeout")
	}
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case len(body) == 0:
	case err != nil:
		return a, fail("invalid_post_type")
	case kind == "application/json":
		if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
			return a, fail("invalid_charset")
		}
		if !takesJSON {
			break // Slack reads no arguments from such a body
		}
		var fields map[string]json.RawMessage
		if json.Unmarshal(body, &fields) != nil {
			return a, fail("invalid_json")
		}
		for key, raw := range fields {
			text := string(raw)
			if json.Unmarshal(raw, &text) != nil {
				text = string(raw)
			}
			if key != "token" {
				a.Set(key, text)
			}
		}
	case kind == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return a, fail("invalid_form_data")
		}
		a.Values = form
		if a.token == "" {
			a.token = form.Get("token")
		}
	default:
		return a, fail("invalid_post_type")
	}
	for key, values := range r.URL.Query() {
		if key != "token" && a.Get(key) == "" {
			a.Values[key] = values
		}
	}
	return a, nil
}

func answer(w http.ResponseWriter, result map[string]any, err error) {
	if result == nil {
		result = map[string]any{}
	}
	result["ok"] = err == nil
	if f, ok := err.(failure); ok { //nolint:errorlint // made here, never wrapped
		result["error"] = f.Code
		if len(f.Messages) > 0 {
			result["response_metadata"] = map[string]any{"messages": f.Messages}
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(result)
}

func hangUp(w http.ResponseWriter) {
	if hijacker, ok := w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			_ = conn.Close()
		}
	}
}
