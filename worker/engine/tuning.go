package engine

import (
	"time"

	"go.temporal.io/server/common/dynamicconfig"
)

// tuning turns a server made for thousands of clients into one for one team: a step without work
// of its own falls from 50 ms to under 10 ms.
func tuning() dynamicconfig.StaticClient {
	const unlimited = 100_000 // polls a second
	return dynamicconfig.StaticClient{
		// 20 by default: a wait of up to 50 ms before every workflow and activity task.
		dynamicconfig.TransferProcessorMaxPollRPS.Key(): unlimited,
		// The same wait before timers, retries and timeouts.
		dynamicconfig.TimerProcessorMaxPollRPS.Key(): unlimited,
		// The same wait before callbacks and Nexus calls.
		dynamicconfig.OutboundProcessorMaxPollRPS.Key(): unlimited,
		// The same wait before a changed search attribute shows in a list.
		dynamicconfig.VisibilityProcessorMaxPollRPS.Key(): unlimited,
		// 1 s by default, to which every timer is rounded up: retries after 100 ms need better.
		dynamicconfig.TimerProcessorMaxTimeShift.Key(): 10 * time.Millisecond,
		// One process has nothing to spread: one partition spares the forwarding between four.
		dynamicconfig.MatchingNumTaskqueueReadPartitions.Key(): 1,
		// Must equal the number for reads, or tasks wait where nobody polls.
		dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,
		// The default matcher lets no task go before the time of the last one: a clock set back by an hour stops all work for an
		// hour. The classic one has no such memory; what it lacks are priorities, which no workflow of ours uses.
		dynamicconfig.MatchingUseNewMatcher.Key(): false,
		// 20 s by default, for which a wait for a result hangs where it missed the notification.
		dynamicconfig.HistoryLongPollExpirationInterval.Key(): time.Second,
		// New search attributes can be used at once; the read that it costs is one row of SQLite.
		dynamicconfig.ForceSearchAttributesCacheRefreshOnRead.Key(): true,
		// Workflows kept in memory by all workers of this process (10,000 by default); the SDK's
		// own setter comes too late, since the server's workers start first.
		dynamicconfig.WorkerStickyCacheSize.Key(): 500,
		// Runs kept in memory by the history service (128,000 by default).
		dynamicconfig.HistoryCacheHostLevelMaxSize.Key(): 1_000,
		// No call to Temporal's own servers to ask for newer versions.
		dynamicconfig.EnableServerVersionCheck.Key(): false,
	}
}
