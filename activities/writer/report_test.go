package writer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

var epoch = time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return epoch.Add(d) }

// script writes synthetic logs: one clock, one next number.
type script struct {
	entries []entry
	now     time.Duration // steady
	skew    time.Duration
	seq     int64
}

func started() *script {
	s := &script{}
	s.start()
	return s
}

func (s *script) note(n note) *script {
	s.entries = append(s.entries, entry{note: &n})
	return s
}

// start is a new process: its steady clock is the wall clock again.
func (s *script) start() *script {
	s.now, s.skew = s.now+s.skew, 0
	return s.note(note{Start: true, Next: s.seq + 1, Every: 20 * time.Millisecond, Writer: "shop/orders/1"})
}

func (s *script) one(took time.Duration, outcome string) *script {
	s.seq++
	sent := epoch.Add(s.now).UnixNano()
	s.entries = append(s.entries, entry{attempt: attempt{seq: s.seq, sent: sent, done: sent + int64(took), skew: int64(s.skew), outcome: outcome}})
	s.now += took
	return s
}

// tick makes attempts of 1 ms every 20 ms for d.
func (s *script) tick(d time.Duration, outcome string) *script {
	for end := s.now + d; s.now < end; s.now += 19 * time.Millisecond {
		s.one(time.Millisecond, outcome)
	}
	return s
}

func (s *script) idle(d time.Duration) *script { s.now += d; return s }
func (s *script) jump(d time.Duration) *script { s.skew += d; return s }

func TestCompute(t *testing.T) {
	t.Parallel()
	const ms, sec = time.Millisecond, time.Second
	tests := []struct {
		name          string
		log           *script
		since, until  time.Duration
		outages       [][2]time.Duration
		unwatched     [][2]time.Duration
		acked, failed int64
	}{
		{name: "an empty log knows nothing", log: &script{}, until: sec, unwatched: [][2]time.Duration{{0, sec}}},
		{name: "all is well", log: started().tick(2*sec, ack), until: 2 * sec, acked: 100},
		{name: "refused for a second: from the last to the first acknowledged", log: started().tick(sec, ack).tick(sec, "Unreachable").tick(sec, ack),
			until: 3 * sec, outages: [][2]time.Duration{{981 * ms, 2001 * ms}}, acked: 100, failed: 50},
		{name: "one refusal is no outage", log: started().tick(sec, ack).one(ms, "Unreachable").idle(19*ms).tick(sec, ack), until: 2020 * ms, acked: 100, failed: 1},
		{name: "one slow write is an outage", log: started().tick(sec, ack).one(800*ms, ack).idle(19*ms).tick(sec, ack), until: 2819 * ms,
			outages: [][2]time.Duration{{981 * ms, 1800 * ms}}, acked: 101},
		{name: "longest first", log: started().tick(sec, ack).tick(200*ms, "Timeout").tick(sec, ack).tick(400*ms, "Timeout").tick(sec, ack),
			until: 3600 * ms, outages: [][2]time.Duration{{2181 * ms, 2601 * ms}, {981 * ms, 1201 * ms}}, acked: 150, failed: 30},
		{name: "still open at the end", log: started().tick(sec, ack).tick(sec, "Unreachable"), until: 2050 * ms,
			outages: [][2]time.Duration{{981 * ms, 2050 * ms}}, acked: 50, failed: 50},
		{name: "clipped where it ends after the window", log: started().tick(sec, ack).tick(2*sec, "Unreachable").tick(sec, ack), until: 2 * sec,
			outages: [][2]time.Duration{{981 * ms, 2 * sec}}, acked: 50, failed: 51},
		{name: "whole where it began before the window", log: started().tick(sec, ack).tick(2*sec, "Unreachable").tick(sec, ack), since: 2 * sec, until: 4 * sec,
			outages: [][2]time.Duration{{981 * ms, 3001 * ms}}, acked: 50, failed: 50},
		{name: "over before the window", log: started().tick(sec, ack).tick(sec, "Unreachable").tick(2*sec, ack), since: 3 * sec, until: 4 * sec, acked: 50},
		{name: "after the window", log: started().tick(2*sec, ack).tick(sec, "Unreachable").tick(sec, ack), until: sec, acked: 51},
		{name: "the writer began within an outage", log: started().tick(sec, "Unreachable").tick(sec, ack), until: 2 * sec,
			outages: [][2]time.Duration{{0, 1001 * ms}}, acked: 50, failed: 50},
		{name: "killed and restarted while all is well: unwatched, no outage", log: started().tick(sec, ack).idle(sec).start().tick(sec, ack), until: 3 * sec,
			unwatched: [][2]time.Duration{{981 * ms, 2 * sec}}, acked: 100},
		{name: "a process that stood still: unwatched", log: started().tick(sec, ack).idle(sec).tick(sec, ack), until: 3 * sec,
			unwatched: [][2]time.Duration{{981 * ms, 2 * sec}}, acked: 100},
		{name: "killed, and slow to connect: the slow write alone", log: started().tick(sec, ack).idle(sec).start().one(300*ms, ack).idle(19*ms).tick(sec, ack), until: 3319 * ms,
			outages: [][2]time.Duration{{2 * sec, 2300 * ms}}, unwatched: [][2]time.Duration{{981 * ms, 2 * sec}}, acked: 101},
		{name: "killed within an outage: whole, and unwatched", log: started().tick(sec, ack).tick(sec, "Unreachable").idle(sec).start().tick(sec, "Unreachable").tick(sec, ack),
			until: 5 * sec, outages: [][2]time.Duration{{981 * ms, 4001 * ms}}, unwatched: [][2]time.Duration{{1981 * ms, 3 * sec}}, acked: 100, failed: 100},
		{name: "killed with the primary: from the last acknowledged", log: started().tick(sec, ack).idle(sec).start().tick(sec, "Unreachable").tick(sec, ack),
			until: 4 * sec, outages: [][2]time.Duration{{981 * ms, 3001 * ms}}, unwatched: [][2]time.Duration{{981 * ms, 2 * sec}}, acked: 100, failed: 50},
		{name: "yesterday's log does not make an outage of a day", log: started().tick(sec, ack).idle(24*time.Hour).start().tick(sec, "Unreachable").tick(sec, ack),
			since: 24 * time.Hour, until: 24*time.Hour + 3*sec, outages: [][2]time.Duration{{24*time.Hour + sec, 24*time.Hour + 2001*ms}},
			unwatched: [][2]time.Duration{{24 * time.Hour, 24*time.Hour + sec}}, acked: 50, failed: 50},
		{name: "nor one that ended refused", log: started().tick(sec, "Unreachable").idle(24*time.Hour).start().tick(sec, ack),
			since: 24*time.Hour + sec, until: 24*time.Hour + 2*sec, acked: 50},
		{name: "the writer is gone at the end", log: started().tick(sec, ack), until: 2 * sec, unwatched: [][2]time.Duration{{981 * ms, 2 * sec}}, acked: 50},
		{name: "the clock jumps ahead: no outage", log: started().tick(sec, ack).jump(time.Hour).tick(sec, ack), until: time.Hour + 2*sec, acked: 100},
		{name: "the clock jumps back: no outage", log: started().tick(sec, ack).jump(-time.Minute).tick(sec, ack), since: -time.Hour, until: sec,
			unwatched: [][2]time.Duration{{-time.Hour, 0}, {-58019 * ms, sec}}, acked: 100},
		{name: "the clock jumps ahead within an outage: its length is the real one", log: started().tick(sec, ack).tick(500*ms, "Timeout").jump(time.Hour).tick(500*ms, "Timeout").tick(sec, ack),
			until: time.Hour + 3*sec, outages: [][2]time.Duration{{981 * ms, 2001 * ms}}, acked: 100, failed: 50},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := compute(test.log.entries, at(test.since), at(test.until))
			require.Equal(t, bands(test.outages), got.report.Outages, "outages")
			require.Equal(t, bands(test.unwatched), got.report.Unwatched, "unwatched")
			require.Equal(t, test.acked, got.report.Acknowledged, "acknowledged")
			require.Equal(t, test.failed, got.report.Failed, "failed")
			require.Equal(t, 20*ms, got.report.Every)
		})
	}
}

func bands(list [][2]time.Duration) []journal.Band {
	var all []journal.Band
	for _, b := range list {
		all = append(all, journal.Band{From: at(b[0]), To: at(b[1])})
	}
	return all
}

func TestComputeChecksWhatWasAcknowledgedBeforeTheFailure(t *testing.T) {
	t.Parallel()
	log := started().tick(time.Second, ack).idle(20*time.Minute).tick(time.Second, ack).tick(time.Second, "Timeout").tick(time.Second, ack)
	began := 20*time.Minute + 2*time.Second + 500*time.Millisecond // within the outage
	got := compute(log.entries, at(began), at(time.Hour))
	require.Len(t, got.check, 100, "what is older than ten minutes is not looked at, what failed neither")
	require.EqualValues(t, 51, got.check[0])
	require.EqualValues(t, 50, got.report.Acknowledged, "in the window itself")

	log.note(note{Forgot: 61})
	got = compute(log.entries, at(began), at(time.Hour))
	require.Len(t, got.check, 90, "forgotten marks are not lost ones")
	require.EqualValues(t, 61, got.check[0])
}
