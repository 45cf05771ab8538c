package probe

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// Verify writes and reads through the clients' own route, and compares the member that answered with the one that answers
// at in.Site's own address. Another member is ErrNotYet: the route may be on its way. It changes nothing that stays.
func Verify(ctx context.Context, open Opener, in activities.VerifyInput) (activities.ActResult, error) {
	start := time.Now()
	op := fmt.Sprintf("verify %s through route %s", in.Name, in.Route.Name)
	member, found := in.System.Members[in.Site]
	if !found {
		return activities.ActResult{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: fmt.Errorf("%s has no member at site %s", in.Name, in.Site)}
	}
	if in.Route.Route.Address == "" && !in.System.FindsPrimary() {
		return activities.ActResult{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: fmt.Errorf("route %s has no address", in.Route.Name)}
	}
	if in.RequestID == "" {
		return activities.ActResult{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: fmt.Errorf("no request ID")}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	through, err := at(ctx, open, in.Target, in.Route.Route.Address, func(m activities.Marks) (journal.Facts, error) {
		return SQL(ctx, m, "verify/"+in.RequestID)
	})
	if err != nil {
		return activities.ActResult{}, fmt.Errorf("%s at %s: %w", op, in.Route.Route.Address, err)
	}
	direct, err := at(ctx, open, in.Target, member.Address, func(m activities.Marks) (journal.Facts, error) { return m.Where(ctx) })
	if err != nil {
		return activities.ActResult{}, fmt.Errorf("%s: ask the member at %s itself, at %s: %w", op, in.Site, member.Address, err)
	}
	if len(through) == 0 || !maps.Equal(through, direct) {
		return activities.ActResult{}, &activities.Error{Type: activities.ErrNotYet, Op: op,
			Err: fmt.Errorf("the write landed on %s, the member at %s is %s", words(through), in.Site, words(direct))}
	}
	after := maps.Clone(through)
	after["route"] = in.Route.Name
	after["site"] = in.Site
	after["written and read through"] = cmp.Or(in.Route.Route.Address, "whom its clients are told")
	return activities.ActResult{Before: through, After: after, Took: time.Since(start)}, nil
}

func at(ctx context.Context, open Opener, t activities.Target, address string, ask func(activities.Marks) (journal.Facts, error)) (journal.Facts, error) {
	marks, err := open(ctx, t, address)
	if err != nil {
		return nil, err
	}
	defer marks.Close()
	return ask(marks)
}

func words(facts journal.Facts) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(facts)) {
		parts = append(parts, key+" "+facts[key])
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
