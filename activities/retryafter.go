package activities

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// AsksToWait is what an HTTP answer says of trying again (RFC 9110, section 10.2.3), as the end of a sentence for people; empty where
// it says nothing. also names headers of a service's own that count seconds.
func AsksToWait(h http.Header, now time.Time, also ...string) string {
	const retryAfter = "Retry-After"
	for _, name := range append([]string{retryAfter}, also...) {
		if seconds, err := strconv.ParseUint(h.Get(name), 10, 31); err == nil {
			return fmt.Sprintf("; it asks to wait %s", time.Duration(seconds)*time.Second)
		}
	}
	if at, err := http.ParseTime(h.Get(retryAfter)); err == nil {
		return fmt.Sprintf("; it asks to wait %s", max(0, at.Sub(now)).Round(time.Second))
	}
	return ""
}
