package evidence

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

func build(t *testing.T, entries []journal.Entry) Evidence {
	t.Helper()
	ev, err := Build(entries)
	require.NoError(t, err)
	return ev
}

func found(t *testing.T, ev Evidence, id string) Criterion {
	t.Helper()
	for _, c := range ev.Criteria {
		if c.ID == id {
			return c
		}
	}
	require.Fail(t, "no criterion "+id)
	return Criterion{}
}

func TestCriteriaOfTheRuns(t *testing.T) {
	t.Parallel()
	order := []string{CriterionRTO, CriterionLostWrites, CriterionOneWriter, CriterionVerified, CriterionApproved, CriterionReprotect, CriterionSkips}
	none := NotApplicable
	for name, want := range map[string][]Result{
		"success":   {Met, Met, Met, Met, Met, Met, Met},
		"unplanned": {NotMet, NotMet, Weak, Met, Weak, NotMet, NotMet},
		"rejected":  {none, none, none, none, NotMet, none, Met},
		"aborted":   {none, none, none, none, Met, none, NotMet},
		"observed":  {none, none, none, none, none, none, Met},
		"empty":     {none, none, none, none, none, none, none},
	} {
		ev := build(t, runs[name](t))
		for i, id := range order {
			require.Equal(t, id, ev.Criteria[i].ID)
			require.Equal(t, want[i], ev.Criteria[i].Result, "%s of %s: %s", id, name, ev.Criteria[i].Found)
		}
	}
}

func TestSplitOfTheOutage(t *testing.T) {
	t.Parallel()
	got := build(t, unplanned(t)).Times
	require.Equal(t, int64(9000), got.DetectMs, "the outage began nine seconds before the run")
	require.Equal(t, int64(13_002), got.DecideMs, "10 s and 3 s at gates, each closed a millisecond after its decision")
	require.Equal(t, int64(1205), got.VerifyMs)
	require.Equal(t, got.OutageMs, got.DetectMs+got.DecideMs+got.ExecuteMs+got.VerifyMs)
	require.Equal(t, int64(6000), got.HeldMs)

	got = build(t, success(t)).Times
	require.Zero(t, got.DetectMs)
	require.Zero(t, got.DecideMs, "the gate had closed before the outage began")
	require.Equal(t, (41*time.Minute).Milliseconds()+1, got.GatesMs)
	require.Equal(t, int64(15), got.VerifyMs, "the outage ended before the verification did")
	require.Equal(t, got.OutageMs, got.DetectMs+got.DecideMs+got.ExecuteMs+got.VerifyMs)
}

// measure appends a measure to a finished move.
func withMeasure(t *testing.T, m *journal.Measure) Evidence {
	s := begin(t, planned()).makePlan("none", "orders").open("approve", "").decide(1, "approve", "approve", "bo", anasKey, "").close("approve", journal.Approved)
	s.move("orders")
	if m != nil {
		s.add(0, journal.Entry{Kind: journal.Measured, System: "orders", Measure: m})
	}
	return build(t, s.over(journal.Passed, "done"))
}

func TestWhatWasNotMeasuredIsNeverMet(t *testing.T) {
	t.Parallel()
	band := func(from, to int) journal.Band {
		return journal.Band{From: t0.Add(time.Duration(from) * time.Second), To: t0.Add(time.Duration(to) * time.Second)}
	}
	out := band(0, 2)
	for name, c := range map[string]struct {
		m         *journal.Measure
		rto, lost Result
	}{
		"no measure":                    {nil, NotMeasured, NotMeasured},
		"no writer":                     {&journal.Measure{System: "orders"}, NotMeasured, NotMeasured},
		"nothing acknowledged":          {&journal.Measure{System: "orders", Measured: true, OutageMs: 1}, Met, NotMeasured},
		"seen":                          {&journal.Measure{System: "orders", Measured: true, OutageMs: 2000, Outage: &out, Acknowledged: 9}, Met, Met},
		"unwatched, too long to tell":   {&journal.Measure{System: "orders", Measured: true, Outage: &out, Unwatched: []journal.Band{band(2, 40)}, Acknowledged: 9}, NotMeasured, Met},
		"unwatched, too short to doubt": {&journal.Measure{System: "orders", Measured: true, Outage: &out, Unwatched: []journal.Band{band(2, 20)}, Acknowledged: 9}, Met, Met},
		"too slow, some lost":           {&journal.Measure{System: "orders", Measured: true, OutageMs: 30_001, Acknowledged: 9, Missing: 1}, NotMet, NotMet},
	} {
		ev := withMeasure(t, c.m)
		require.Equal(t, c.rto, found(t, ev, CriterionRTO).Result, name)
		require.Equal(t, c.lost, found(t, ev, CriterionLostWrites).Result, name)
	}
}

func TestOneWriterNeedsProofBeforeThePromotion(t *testing.T) {
	t.Parallel()
	fenced := func(proof string) func(*script) {
		return func(s *script) { s.fence("orders", proof).promote("orders") }
	}
	gate := func(s *script, o journal.Outcome) {
		s.open("no-fence-proof", "two writers").decide(1, "no-fence-proof", "approve", "bo", anasKey, "").close("no-fence-proof", o)
	}
	for name, c := range map[string]struct {
		do   func(*script)
		want Result
	}{
		"stopped":        {fenced("stopped"), Met},
		"crashed":        {fenced("crashed"), Met},
		"refuses":        {fenced("refuses"), Met},
		"cut off":        {fenced("cut-off"), Weak},
		"none":           {fenced("none"), NotMet},
		"no word of it":  {fenced(""), NotMet},
		"unknown word":   {fenced("probably"), NotMet},
		"no fence":       {func(s *script) { s.promote("orders") }, NotMet},
		"risk accepted":  {func(s *script) { s.fence("orders", "none"); gate(s, journal.Approved); s.promote("orders") }, Weak},
		"risk refused":   {func(s *script) { s.fence("orders", "none"); gate(s, journal.Rejected); s.promote("orders") }, NotMet},
		"accepted later": {func(s *script) { s.fence("orders", "none").promote("orders"); gate(s, journal.Approved) }, NotMet},
		"fenced later":   {func(s *script) { s.promote("orders").fence("orders", "stopped") }, NotMet},
		"not promoted":   {func(s *script) { s.fence("orders", "stopped") }, NotApplicable},
	} {
		s := begin(t, planned()).makePlan("none", "orders")
		c.do(s)
		got := found(t, build(t, s.over(journal.Passed, "")), CriterionOneWriter)
		require.Equal(t, c.want, got.Result, "%s: %s", name, got.Found)
	}
}

func TestApprovalIsOfThePlanThatWasFollowed(t *testing.T) {
	t.Parallel()
	start := func() *script { return begin(t, planned()).makePlan("none", "orders") }
	approve := func(s *script, identity string) *script {
		return s.open("approve", "").decide(1, "approve", "approve", "bo", identity, "").close("approve", journal.Approved)
	}
	other := func(s *script) *script {
		hash := s.plan.Hash
		s.plan.Hash = "0" + hash[1:]
		s.decide(1, "approve", "approve", "bo", anasKey, "")
		s.plan.Hash = hash
		return s
	}
	for name, c := range map[string]struct {
		s    *script
		want Result
	}{
		"signed":                    {approve(start(), anasKey), Met},
		"claimed":                   {approve(start(), "claimed"), Weak},
		"no gate":                   {start(), Weak},
		"another plan was followed": {approve(start(), anasKey).makePlan("possible", "orders"), NotMet},
		"asked again, approved":     {approve(approve(start(), anasKey).makePlan("possible", "orders"), anasKey), Met},
		"another hash was approved": {other(start().open("approve", "")).close("approve", journal.Approved), NotMet},
		"no approval recorded":      {start().open("approve", "").close("approve", journal.Approved), NotMet},
		"expired":                   {start().open("approve", "").close("approve", journal.Expired), NotMet},
		"open":                      {start().open("approve", ""), NotMet},
	} {
		got := found(t, build(t, c.s.promote("orders").over(journal.Passed, "")), CriterionApproved)
		require.Equal(t, c.want, got.Result, "%s: %s", name, got.Found)
	}
}

func TestAfterIsOnlyWhatWasSeenAfterTheLastAct(t *testing.T) {
	t.Parallel()
	require.Equal(t, "primary", build(t, success(t)).Systems[0].After["east.role"])
	s := begin(t, planned()).look("orders", factsAt("west")).look("orders", factsAt("west"))
	s.move("orders")
	got := build(t, s.over(journal.FailedVerdict, "")).Systems[0]
	require.False(t, got.ObservedAgain)
	require.Nil(t, got.After)
}

func TestHoldsRetriesAndUndo(t *testing.T) {
	t.Parallel()
	ev := build(t, unplanned(t))
	for _, s := range ev.Steps {
		if s.ID == "route/orders" {
			require.Len(t, s.Attempts, 2)
			require.Equal(t, journal.Failed, s.Attempts[0].Outcome)
			require.Equal(t, journal.Changed, s.Attempts[1].Outcome)
			require.Equal(t, 5*time.Second, s.Attempts[1].From.Sub(s.Attempts[0].To))
		}
	}
	require.Equal(t, []string{"retry", "skip"}, []string{ev.Holds[0].Action, ev.Holds[1].Action})
	require.Len(t, ev.Refused, 1)

	ev = build(t, aborted(t))
	require.True(t, ev.Undos[0].Ran)
	require.Equal(t, journal.Changed, ev.Undos[0].Outcome)
	require.Equal(t, "abort", ev.Holds[0].Action, "the pause ended with the abort")
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	_, err := Build(nil)
	require.ErrorContains(t, err, "empty")
	s := &script{t: t, at: t0, prev: journal.Genesis}
	_, err = Build(s.add(0, journal.Entry{Kind: journal.Noted}).entries)
	require.ErrorContains(t, err, "run-started")
	broken := success(t)
	broken[4].Message = "nothing happened"
	_, err = Build(broken)
	require.ErrorContains(t, err, "entry 5 was changed")
}
