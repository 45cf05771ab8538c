package slack

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
)

const (
	// clockSkew is how far this estate's clocks and Slack's may be apart.
	clockSkew = 10 * time.Minute
	pageSize  = 200 // what Slack recommends
	// maxPages bounds a search. A channel with more messages than that since the notice was made may see it twice.
	maxPages = 25
)

// posted is a message of muster's that is there already, as its metadata says.
type posted struct {
	ts, thread   string
	notice       string
	subject, run string
	event        activities.Event
	at           time.Time
}

// read returns what a message's metadata says; ok is false where it is none of muster's.
func read(m listing) (p posted, ok bool) {
	p = posted{ts: m.TS, thread: m.Thread}
	if m.Metadata.Type != metadataType {
		return p, false
	}
	text := func(key string) string { s, _ := m.Metadata.Payload[key].(string); return s }
	p.notice, p.subject, p.run, p.event = text("notice"), text("subject"), text("run"), activities.Event(text("event"))
	p.at, _ = time.Parse(time.RFC3339Nano, text("at"))
	return p, p.notice != ""
}

// closed says whether the message shows something that is over.
func (p posted) closed() bool {
	return slices.Contains([]activities.Event{activities.EventGateClosed, activities.EventGateExpired, activities.EventReleased}, p.event)
}

// overtakes says whether the message shows n already, or what came after it: notices may be delivered out of order.
func (p posted) overtakes(n activities.Notice) bool {
	if p.notice == n.ID {
		return true
	}
	if !p.at.Equal(n.At) {
		return p.at.After(n.At)
	}
	mine, ok := entry(n.ID)
	theirs, also := entry(p.notice)
	return ok && also && theirs > mine
}

// entry is the number of the journal's entry that a notice's ID ends with.
func entry(id string) (int, bool) {
	number, err := strconv.Atoi(id[strings.LastIndexByte(id, '/')+1:])
	return number, err == nil
}

// earlier is what a search found.
type earlier struct {
	same    *posted // shows the very notice
	subject *posted // the newest of the notice's subject
	root    string  // ts of the run's first message that stands in no thread
}

// search reads what was posted since, in a thread or (thread empty) in the channel itself.
func search(ctx context.Context, c *workspace, channel, thread string, since time.Time, n activities.Notice) (earlier, error) {
	var found earlier
	oldest := fmt.Sprintf("%d.000000", since.Add(-clockSkew).Unix())
	cursor := ""
	for range maxPages {
		messages, next, err := page(ctx, c, channel, thread, oldest, cursor)
		if err != nil {
			return found, err
		}
		for _, m := range messages {
			found.take(m, n)
		}
		if next == "" || found.same != nil {
			return found, nil
		}
		cursor = next
	}
	return found, nil
}

func page(ctx context.Context, c *workspace, channel, thread, oldest, cursor string) ([]listing, string, error) {
	method, arguments := "conversations.history", url.Values{"channel": {channel}, "oldest": {oldest}, "limit": {strconv.Itoa(pageSize)}}
	if thread != "" {
		method = "conversations.replies"
		arguments.Set("ts", thread)
	}
	if cursor != "" {
		arguments.Set("cursor", cursor)
	}
	messages, next, err := c.list(ctx, method, arguments)
	if thread != "" && gone(err) {
		return nil, "", nil // somebody deleted the thread
	}
	return messages, next, err
}

func (e *earlier) take(m listing, n activities.Notice) {
	p, ok := read(m)
	if !ok {
		return
	}
	if p.notice == n.ID {
		e.same = &p
	}
	if p.subject == n.Subject && (e.subject == nil || p.ts > e.subject.ts) {
		e.subject = &p
	}
	top := p.thread == "" || p.thread == p.ts
	if top && p.run == n.Header.RunID && p.run != "" && (e.root == "" || p.ts < e.root) {
		e.root = p.ts
	}
}

// fetch reads the message that a receipt names; nil where it is gone.
func fetch(ctx context.Context, c *workspace, channel, ts, thread string) (*posted, error) {
	for _, root := range slices.Compact([]string{ts, cmp.Or(thread, ts)}) {
		messages, _, err := c.list(ctx, "conversations.replies", url.Values{
			"channel": {channel}, "ts": {root}, "oldest": {ts}, "latest": {ts}, "inclusive": {"1"}, "limit": {"10"},
		})
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if m.TS == ts && m.Subtype != "tombstone" {
				p, _ := read(m) // without metadata it is still the message to edit
				return &p, nil
			}
		}
	}
	return nil, nil
}
