package gateway

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate is how many requests one source may make; the zero Rate is the default.
type Rate struct {
	PerSecond float64
	Burst     int
}

func (r Rate) or(fallback Rate) Rate {
	if r == (Rate{}) {
		return fallback
	}
	return r
}

// maxSources bounds the memory of a limiter. Whoever asks from more addresses at once than this is not stopped by a limit per address.
const maxSources = 10_000

// limiter keeps a token bucket for each source, those that asked last.
type limiter struct {
	rate    Rate
	now     func() time.Time
	mu      sync.Mutex
	sources map[string]*list.Element
	recent  *list.List // of *bucket, the latest first
}

type bucket struct {
	source string
	tokens *rate.Limiter
}

func newLimiter(r Rate, now func() time.Time) *limiter {
	return &limiter{rate: r, now: now, sources: map[string]*list.Element{}, recent: list.New()}
}

func (l *limiter) allow(source string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	element := l.sources[source]
	if element == nil {
		if len(l.sources) == maxSources {
			oldest := l.recent.Back()
			delete(l.sources, l.recent.Remove(oldest).(*bucket).source)
		}
		element = l.recent.PushFront(&bucket{source, rate.NewLimiter(rate.Limit(l.rate.PerSecond), l.rate.Burst)})
		l.sources[source] = element
	}
	l.recent.MoveToFront(element)
	return element.Value.(*bucket).tokens.AllowN(l.now(), 1)
}

// sourceOf is where a request came from: an IPv4 address, or the /64 that one IPv6 customer has whole.
func sourceOf(r *http.Request, forwarded bool) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if entries := r.Header.Values("X-Forwarded-For"); forwarded && len(entries) > 0 {
		// The last entry is the proxy's own; those before it are whatever the client wrote.
		last := entries[len(entries)-1]
		if named := strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]); named != "" {
			host = named
		}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return "unknown"
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return "unknown"
	}
	return prefix.String()
}
