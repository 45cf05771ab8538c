package pagerduty

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/PagerDuty/go-pagerduty"

	"github.com/musterhq/muster/activities"
)

// settle is how long PagerDuty may take to make an incident of a trigger that it accepted.
const settle = time.Minute

var identifier = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// noted says whether the notice becomes a note: what happens to an incident does, what opens one is the incident.
func (s *session) noted(n activities.Notice) bool {
	switch n.Event {
	case activities.EventGateReminded, activities.EventGateDecided, activities.EventGateClosed, activities.EventGateExpired, activities.EventReleased:
		return s.token != ""
	}
	return false
}

// mark is how a note is recognised. In brackets, so that entry 1 is not found in entry 17.
func mark(n activities.Notice) string { return "[muster " + n.ID + "]" }

// look finds the incidents of the dedup key that the notice is not noted on yet; all says that there are incidents, and it is on all.
// There are several where one was resolved by hand, or where two services are paged.
func (s *session) look(ctx context.Context, key string, n activities.Notice) (missing []string, all bool, err error) {
	x := &exchange{client: s.client, now: s.now}
	list, err := s.dial(x).ListIncidentsWithContext(ctx, pagerduty.ListIncidentsOptions{IncidentKey: key, Limit: 100})
	if err := s.failed("find the incident of "+key, x, err, http.StatusOK); err != nil {
		return nil, false, err
	}
	for _, incident := range list.Incidents {
		if !identifier.MatchString(incident.ID) {
			continue // it would be a part of a path
		}
		x := &exchange{client: s.client, now: s.now}
		notes, err := s.dial(x).ListIncidentNotesWithContext(ctx, incident.ID)
		if err := s.failed("read the notes of incident "+incident.ID, x, err, http.StatusOK); err != nil {
			return nil, false, err
		}
		there := false
		for _, note := range notes {
			there = there || strings.Contains(note.Content, mark(n))
		}
		if there {
			all = true
		} else {
			missing = append(missing, incident.ID)
		}
	}
	return missing, all && len(missing) == 0, nil
}

// note writes the notice onto incidents. Where there is none it is not written, once PagerDuty had the time to make one: an
// incident may be suppressed or merged by the account's rules.
func (s *session) note(ctx context.Context, incidents []string, n activities.Notice) error {
	if len(incidents) == 0 && s.now().Sub(n.At) < settle {
		return &activities.Error{Type: activities.ErrNotYet, Op: s.op + ": write the note", Err: errors.New("PagerDuty has not made an incident of the event yet")}
	}
	for _, id := range incidents {
		x := &exchange{client: s.client, now: s.now}
		// go-pagerduty takes the header From, which the API requires, from the note's user.
		_, err := s.dial(x).CreateIncidentNoteWithContext(ctx, id, pagerduty.IncidentNote{Content: noteText(n), User: pagerduty.APIObject{Summary: s.from}})
		success := http.StatusOK
		if x.status == http.StatusCreated { // the reference says 200, the API has answered 201
			success = x.status
		}
		if err := s.failed("write a note on incident "+id, x, err, success); err != nil {
			return err
		}
	}
	return nil
}
