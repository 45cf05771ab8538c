package pagerduty

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	routingKey = "hunter2plantedroutingkey00000000" // 32 characters, as the service wants
	restToken  = "hunter2planted+token_y_NbAkKc66ryYTWUXYEu"
	writer     = "oncall@example.org"
)

// emulator is not PagerDuty: it is an HTTP server of this test that is as strict as the reference of the Events API v2 (enqueue, change
// events) and of the REST API v2 (incidents by incident_key, notes), and that can be told to fail.
type emulator struct {
	*httptest.Server
	mu        sync.Mutex
	events    []map[string]any // accepted
	changes   []map[string]any // accepted
	raw       [][]byte         // bodies of both, accepted
	incidents []*incident
	refused   []string // why, of all that was turned away by the rules
	lag       int      // so many lists of incidents before a new incident is seen: events are worked off behind the answer
	faults    []fault
}

type incident struct {
	id, key, status string
	triggers        int
	seenAfter       int
	notes           []map[string]any
}

// fault happens to the next request whose path has the prefix.
type fault struct {
	prefix string
	does   func(e *emulator, w http.ResponseWriter, r *http.Request, serve http.HandlerFunc)
}

func emulate(t *testing.T) *emulator {
	t.Helper()
	e := &emulator{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v2/enqueue", e.enqueue)
	mux.HandleFunc("POST /v2/change/enqueue", e.change)
	mux.HandleFunc("GET /incidents", e.rest(e.list))
	mux.HandleFunc("GET /incidents/{id}/notes", e.rest(e.notes))
	mux.HandleFunc("POST /incidents/{id}/notes", e.rest(e.addNote))
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		at := slices.IndexFunc(e.faults, func(f fault) bool { return strings.HasPrefix(r.URL.Path, f.prefix) })
		var hit *fault
		if at >= 0 {
			f := e.faults[at]
			hit = &f
			e.faults = slices.Delete(e.faults, at, at+1)
		}
		e.mu.Unlock()
		if hit != nil {
			hit.does(e, w, r, mux.ServeHTTP)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	e.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(e.Close)
	return e
}

func (e *emulator) fail(prefix string, does func(*emulator, http.ResponseWriter, *http.Request, http.HandlerFunc)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = append(e.faults, fault{prefix, does})
}

// seen is a copy of what the emulator holds: it may still be at work on what a client gave up.
type seen struct {
	events, changes []map[string]any
	raw             [][]byte
	incidents       []incident
	refused         []string
}

func (e *emulator) seen() seen {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := seen{slices.Clone(e.events), slices.Clone(e.changes), slices.Clone(e.raw), nil, slices.Clone(e.refused)}
	for _, i := range e.incidents {
		s.incidents = append(s.incidents, *i)
	}
	return s
}

// status answers code, and repeats in its body whatever it was sent, secrets included.
func status(code int, headers ...string) func(*emulator, http.ResponseWriter, *http.Request, http.HandlerFunc) {
	return func(_ *emulator, w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		body, _ := io.ReadAll(r.Body)
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		reply(w, code, map[string]any{"status": "emulated", "message": "you sent " + string(body), "errors": []string{r.Header.Get("Authorization")},
			"error": map[string]any{"message": string(body), "code": 1, "errors": []string{r.Header.Get("Authorization")}}})
	}
}

// lostAnswer does what was asked, and cuts the connection instead of answering.
func lostAnswer(_ *emulator, _ http.ResponseWriter, r *http.Request, serve http.HandlerFunc) {
	serve(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// silence does nothing and answers nothing.
func silence(_ *emulator, _ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client went away
	<-r.Context().Done()
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

// rules collects what is wrong with an event.
type rules []string

func (p *rules) must(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

func (p *rules) text(of map[string]any, key string, required bool, limit int) string {
	value, there := of[key]
	text, isText := value.(string)
	p.must(!there || isText, "'%s' is not a string", key)
	p.must(!required || text != "", "'%s' is missing or blank", key)
	p.must(limit == 0 || len([]rune(text)) <= limit, "'%s' is too long (maximum is %d characters)", key, limit)
	return text
}

func (p *rules) known(of map[string]any, names ...string) {
	for key := range of {
		p.must(slices.Contains(names, key), "'%s' is not documented", key)
	}
}

func (p *rules) routing(of map[string]any) {
	key := p.text(of, "routing_key", true, 0)
	p.must(len(key) == 32, "Length of 'routing_key' is incorrect (should be 32 characters)")
	p.must(len(key) != 32 || key == routingKey, "Invalid routing key")
}

func (p *rules) links(of map[string]any) {
	links, _ := of["links"].([]any)
	for _, l := range links {
		link, isObject := l.(map[string]any)
		p.must(isObject && strings.HasPrefix(fmt.Sprint(link["href"]), "http"), "'links' has one without an href")
	}
}

func (p *rules) timestamp(of map[string]any) {
	if text := p.text(of, "timestamp", false, 0); text != "" {
		_, err := time.Parse(time.RFC3339Nano, text)
		p.must(err == nil, "'payload.timestamp' is not ISO 8601")
	}
}

func (e *emulator) read(w http.ResponseWriter, r *http.Request) (event map[string]any, raw []byte, ok bool) {
	raw, err := io.ReadAll(r.Body)
	if err != nil || len(raw) > 512<<10 || r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(raw, &event) != nil {
		e.refuse(w, rules{"not a JSON body of at most 512 KB"})
		return nil, nil, false
	}
	return event, raw, true
}

func (e *emulator) refuse(w http.ResponseWriter, p rules) {
	e.mu.Lock()
	e.refused = append(e.refused, p...)
	e.mu.Unlock()
	reply(w, http.StatusBadRequest, map[string]any{"status": "invalid event", "message": "Event object is invalid", "errors": []string(p)})
}

func (e *emulator) enqueue(w http.ResponseWriter, r *http.Request) {
	event, raw, ok := e.read(w, r)
	if !ok {
		return
	}
	var p rules
	p.known(event, "routing_key", "event_action", "dedup_key", "payload", "client", "client_url", "links", "images")
	p.routing(event)
	action := p.text(event, "event_action", true, 0)
	p.must(slices.Contains([]string{"trigger", "acknowledge", "resolve"}, action), "'event_action' is invalid (must be one of the following: 'trigger', 'acknowledge' or 'resolve')")
	key := p.text(event, "dedup_key", action != "trigger", 255)
	p.links(event)
	if payload, isObject := event["payload"].(map[string]any); isObject {
		p.known(payload, "summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details")
		p.text(payload, "summary", action == "trigger", 1024)
		p.text(payload, "source", action == "trigger", 0)
		severity := p.text(payload, "severity", action == "trigger", 0)
		p.must(slices.Contains([]string{"critical", "error", "warning", "info"}, severity), "'severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')")
		for _, name := range []string{"component", "group", "class"} {
			p.text(payload, name, false, 0)
		}
		p.timestamp(payload)
	} else {
		p.must(action != "trigger", "'payload' is missing or blank")
	}
	if len(p) > 0 {
		e.refuse(w, p)
		return
	}
	e.mu.Lock()
	e.events, e.raw = append(e.events, event), append(e.raw, raw)
	e.apply(action, key)
	e.mu.Unlock()
	reply(w, http.StatusAccepted, map[string]any{"status": "success", "message": "Event processed", "dedup_key": key})
}

// apply is what the service does behind its answer: one open incident for each key; what is not open is not resolved.
func (e *emulator) apply(action, key string) {
	at := slices.IndexFunc(e.incidents, func(i *incident) bool { return i.key == key && i.status != "resolved" })
	switch {
	case action == "trigger" && at < 0:
		e.incidents = append(e.incidents, &incident{id: fmt.Sprintf("Q%05d", len(e.incidents)+1), key: key, status: "triggered", triggers: 1, seenAfter: e.lag})
	case action == "trigger":
		e.incidents[at].triggers++
	case at >= 0 && action == "acknowledge":
		e.incidents[at].status = "acknowledged"
	case at >= 0:
		e.incidents[at].status = "resolved"
	}
}

func (e *emulator) change(w http.ResponseWriter, r *http.Request) {
	event, raw, ok := e.read(w, r)
	if !ok {
		return
	}
	var p rules
	p.known(event, "routing_key", "payload", "links")
	p.routing(event)
	p.links(event)
	payload, isObject := event["payload"].(map[string]any)
	p.must(isObject, "'payload' is missing or blank")
	p.known(payload, "summary", "source", "timestamp", "custom_details")
	p.text(payload, "summary", true, 1024)
	p.timestamp(payload)
	if len(p) > 0 {
		e.refuse(w, p)
		return
	}
	e.mu.Lock()
	e.changes, e.raw = append(e.changes, event), append(e.raw, raw)
	e.mu.Unlock()
	reply(w, http.StatusAccepted, map[string]any{"status": "success", "message": "Change event processed"})
}

// rest checks what every request to the REST API needs.
func (e *emulator) rest(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		problem := func(code, number int, text string) {
			e.mu.Lock()
			e.refused = append(e.refused, text)
			e.mu.Unlock()
			reply(w, code, map[string]any{"error": map[string]any{"message": text, "code": number, "errors": []string{text}}})
		}
		switch {
		case r.Header.Get("Authorization") != "Token token="+restToken:
			problem(http.StatusUnauthorized, 2006, "Authentication failed")
		case r.Header.Get("Accept") != "application/vnd.pagerduty+json;version=2":
			problem(http.StatusNotAcceptable, 2010, "Accept has no version")
		case r.Header.Get("Content-Type") != "application/json":
			problem(http.StatusUnsupportedMediaType, 2011, "Content-Type is not application/json")
		case r.Method == http.MethodPost && r.Header.Get("From") != writer:
			problem(http.StatusBadRequest, 2001, "Requester User Not Found")
		default:
			next(w, r)
		}
	}
}

func (e *emulator) list(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := []map[string]any{}
	for _, i := range e.incidents {
		if i.seenAfter--; i.seenAfter < 0 && i.key == r.URL.Query().Get("incident_key") {
			found = append(found, map[string]any{"id": i.id, "type": "incident", "incident_key": i.key, "status": i.status})
		}
	}
	reply(w, http.StatusOK, map[string]any{"incidents": found, "limit": 100, "offset": 0, "more": false})
}

func (e *emulator) byID(id string) *incident {
	for _, i := range e.incidents {
		if i.id == id {
			return i
		}
	}
	return nil
}

func (e *emulator) notes(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.byID(r.PathValue("id"))
	if i == nil {
		reply(w, http.StatusNotFound, map[string]any{"error": map[string]any{"message": "Not Found", "code": 2100}})
		return
	}
	reply(w, http.StatusOK, map[string]any{"notes": append([]map[string]any{}, i.notes...)})
}

func (e *emulator) addNote(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Note struct {
			Content string `json:"content"`
		} `json:"note"`
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.byID(r.PathValue("id"))
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || i == nil || strings.TrimSpace(body.Note.Content) == "" {
		reply(w, http.StatusBadRequest, map[string]any{"error": map[string]any{"message": "Invalid Input Provided", "code": 2001, "errors": []string{"Content cannot be empty."}}})
		return
	}
	note := map[string]any{"id": fmt.Sprintf("N%d", len(i.notes)+1), "content": body.Note.Content}
	i.notes = append(i.notes, note)
	reply(w, http.StatusOK, map[string]any{"note": note})
}

// The emulator is worth what it refuses.
func TestEmulatorIsStrict(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	long := strings.Repeat("x", 1025)
	for want, body := range map[string]string{
		"'routing_key' is missing or blank":   `{"event_action":"resolve","dedup_key":"k"}`,
		"Length of 'routing_key'":             `{"routing_key":"short","event_action":"resolve","dedup_key":"k"}`,
		"Invalid routing key":                 `{"routing_key":"` + strings.Repeat("0", 32) + `","event_action":"resolve","dedup_key":"k"}`,
		"'event_action' is invalid":           `{"routing_key":"` + routingKey + `","event_action":"open","dedup_key":"k"}`,
		"'dedup_key' is missing or blank":     `{"routing_key":"` + routingKey + `","event_action":"resolve"}`,
		"'dedup_key' is too long":             `{"routing_key":"` + routingKey + `","event_action":"resolve","dedup_key":"` + long + `"}`,
		"'payload' is missing or blank":       `{"routing_key":"` + routingKey + `","event_action":"trigger"}`,
		"'source' is missing or blank":        `{"routing_key":"` + routingKey + `","event_action":"trigger","payload":{"summary":"s","severity":"info"}}`,
		"'severity' is invalid":               `{"routing_key":"` + routingKey + `","event_action":"trigger","payload":{"summary":"s","severity":"bad","source":"x"}}`,
		"'summary' is too long":               `{"routing_key":"` + routingKey + `","event_action":"trigger","payload":{"summary":"` + long + `","severity":"info","source":"x"}}`,
		"'payload.timestamp' is not ISO 8601": `{"routing_key":"` + routingKey + `","event_action":"trigger","payload":{"summary":"s","severity":"info","source":"x","timestamp":"now"}}`,
		"'links' has one without an href":     `{"routing_key":"` + routingKey + `","event_action":"resolve","dedup_key":"k","links":[{"href":"javascript:1"}]}`,
		"not a JSON body":                     `{`,
	} {
		answer, err := http.Post(e.URL+"/v2/enqueue", "application/json", strings.NewReader(body))
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusBadRequest, answer.StatusCode, want)
		require.Contains(t, string(text), want)
	}
	require.Empty(t, e.seen().events)
}
