package runbooks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// What a run uses where the runbook says nothing.
const (
	DefaultDeadline      = time.Hour
	DefaultWriterEvery   = 20 * time.Millisecond
	DefaultWriterTimeout = time.Second
	DefaultCatchUp       = 5 * time.Minute
)

// Overrides are the parameters of a failover that the start of a run may set instead of the runbook. Empty: as the runbook says.
type Overrides struct{ Mode, From, To, Kind string }

// Resolve returns the runbook of that name with its defaults filled in and its estate reduced to what the run needs: the systems it
// names, their routes and hosts, and all sites and people. Its error is of type Problems where the files or the overrides are wrong.
func (f *Folder) Resolve(name string, o Overrides) (Resolved, error) {
	d, known := f.runbooks[name]
	if !known {
		names := sorted(f.runbooks)
		text := fmt.Sprintf("unknown runbook %s in %s; %s; %s", shown(name), f.Dir, oneOf(names), didYouMean(name, names))
		return Resolved{}, f.withUnread(errors.New(strings.TrimSuffix(text, "; ")))
	}
	estate := f.estates[d.runbook.Estate]
	var wrong Problems
	wrong = append(wrong, d.problems...)
	if estate != nil {
		wrong = append(wrong, estate.problems...)
	}
	if err := wrong.err(); err != nil {
		return Resolved{}, err
	}
	if estate == nil {
		return Resolved{}, f.withUnread(fmt.Errorf("runbook %s names estate %s, which is in no file of %s that can be read", name, shown(d.runbook.Estate), f.Dir))
	}
	r, err := override(d, estate.estate, o)
	if err != nil {
		return Resolved{}, err
	}
	resolved := Resolved{Runbook: withDefaults(r), Estate: reduce(*estate.estate, r)}
	resolved.SHA256, err = resolved.Digest()
	return resolved, err
}

// withUnread adds what is wrong with the files that could not be read: what is looked for may be in one of them.
func (f *Folder) withUnread(err error) error {
	if wrong := f.unread.err(); wrong != nil {
		return fmt.Errorf("%w:\n%w", err, wrong)
	}
	return err
}

// Digest computes the SHA-256 of runbook and estate, as canonical JSON: the same document has the same digest anywhere. It
// leaves out the mode, which is the same run seen from less far: what a dry run showed is what an approval is for.
func (r Resolved) Digest() (string, error) {
	if f := r.Runbook.Failover; f != nil {
		same := *f
		same.Mode = ""
		r.Runbook.Failover = &same
	}
	text, err := json.Marshal(struct {
		Runbook Runbook `json:"runbook"`
		Estate  Estate  `json:"estate"`
	}{r.Runbook, r.Estate})
	if err != nil {
		return "", fmt.Errorf("hash runbook %s: %w", r.Runbook.Name, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// override applies o to a copy of the runbook and checks the copy as if the file had said so.
func override(d *document, e *Estate, o Overrides) (Runbook, error) {
	r := *d.runbook
	if o == (Overrides{}) {
		return r, nil
	}
	again := &document{file: d.file, at: maps.Clone(d.at), bad: map[string]bool{}}
	if r.Failover == nil {
		again.problem("operation", "start it without them", "mode, from, to and kind cannot be set for operation %s", r.Operation)
		return Runbook{}, again.problems.err()
	}
	failover := *r.Failover
	r.Failover = &failover
	set := map[string]bool{}
	for _, change := range []struct {
		key, value string
		to         *string
		words      []string
	}{
		{"mode", o.Mode, &failover.Mode, []string{"execute", "observe"}}, {"kind", o.Kind, &failover.Kind, []string{"planned", "unplanned"}},
		{"from", o.From, &failover.From, nil}, {"to", o.To, &failover.To, nil},
	} {
		if change.value == "" {
			continue
		}
		*change.to = change.value
		path := "failover." + change.key
		set[path] = true
		again.at[path] = d.at["failover"]
		if change.words != nil && !slices.Contains(change.words, change.value) {
			again.unknown(path, change.key, change.value, change.words)
		}
	}
	again.checkRunbook(&r, e, true)
	for i := range again.problems {
		if p := &again.problems[i]; set[p.Key] {
			p.Line, p.Column = 0, 0 // the start of the run said it, not the file
			p.Message = "as set by the start of the run: " + p.Message
		}
	}
	return r, again.problems.err()
}

func withDefaults(r Runbook) Runbook {
	r.Writer.Every = Duration(r.Writer.Every.Or(DefaultWriterEvery))
	r.Writer.Timeout = Duration(r.Writer.Timeout.Or(DefaultWriterTimeout))
	if r.Schedule != nil {
		schedule := *r.Schedule
		schedule.CatchUp = Duration(schedule.CatchUp.Or(DefaultCatchUp))
		if schedule.TimeZone == "" {
			schedule.TimeZone = "UTC"
		}
		r.Schedule = &schedule
	}
	if r.Trust == "" {
		r.Trust = "signed"
	}
	if r.Failover == nil {
		return r
	}
	failover := *r.Failover
	r.Failover = &failover
	if failover.Mode == "" {
		failover.Mode = "execute"
	}
	if failover.Reprotect == nil {
		yes := true
		failover.Reprotect = &yes
	}
	gates := make(map[string]Gate, len(gateNames))
	for _, name := range gateNames {
		g := r.Gates[name]
		g.Count = max(g.Count, 1)
		g.Deadline = Duration(g.Deadline.Or(DefaultDeadline))
		g.Trust = r.GateTrust(name)
		gates[name] = g
	}
	r.Gates = gates
	return r
}

func reduce(e Estate, r Runbook) Estate {
	var names []string
	if r.Failover != nil {
		names = slices.Concat(r.Failover.Order...)
	}
	if r.Watch != nil {
		names = append(names, r.Watch.Systems...)
	}
	all := e
	e.Systems, e.Routes, e.Hosts = map[string]System{}, map[string]Route{}, map[string]Host{}
	for _, name := range names {
		s := all.Systems[name]
		e.Systems[name] = s
		if s.Route != "" {
			e.Routes[s.Route] = all.Routes[s.Route]
		}
		for _, m := range s.Members {
			if m.Host != "" {
				e.Hosts[m.Host] = all.Hosts[m.Host]
			}
		}
	}
	return e
}
