package runbooks

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// Opening returns the window that is open at now, or the next one. It reads the time zone's rules of this machine: workflows
// keep its answer in their history.
func (w Window) Opening(now time.Time) (opens, closes time.Time, err error) {
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		return opens, closes, fmt.Errorf("window: %w", err)
	}
	schedule, err := cron.ParseStandard(w.Cron)
	if err != nil {
		return opens, closes, fmt.Errorf("window: %w", err)
	}
	opens = schedule.Next(now.Add(-w.For.D()).In(zone))
	if opens.IsZero() {
		return opens, closes, fmt.Errorf("window: no time fits %q", w.Cron)
	}
	return opens.UTC(), opens.Add(w.For.D()).UTC(), nil
}
