package slack

import "time"

// Impatient makes i give up on what does not answer after d.
func (i *Incoming) Impatient(d time.Duration) { i.patience = d }

// Pending is how many clicks were acknowledged and are not done.
func (i *Incoming) Pending() int64 { return i.pending.Load() }
