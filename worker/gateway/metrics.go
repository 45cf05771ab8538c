package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the gateway's own, in a registry of its own: the process's other libraries do not show in it.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	took      *prometheus.HistogramVec
	decisions *prometheus.CounterVec
	answered  *prometheus.HistogramVec
}

func newMetrics() *metrics {
	buckets := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_gateway_requests_total",
			Help: "Requests by the pattern that took them and the status code."}, []string{"path", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "muster_gateway_acknowledge_seconds", Buckets: buckets,
			Help: "Time from a request's arrival to the end of its answer, by pattern."}, []string{"path"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_gateway_decisions_total",
			Help: "Decisions and interventions by channel and outcome: accepted, refused, or unknown where the run could not be asked."}, []string{"channel", "outcome"}),
		answered: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "muster_gateway_answer_seconds", Buckets: buckets,
			Help: "Time until the run answered a decision or intervention, by channel."}, []string{"channel"}),
	}
	m.registry.MustRegister(m.requests, m.took, m.decisions, m.answered)
	return m
}

func (m *metrics) served(pattern string, code int, took time.Duration) {
	m.requests.WithLabelValues(pattern, strconv.Itoa(code)).Inc()
	m.took.WithLabelValues(pattern).Observe(took.Seconds())
}

func (m *metrics) heard(channel, outcome string, took time.Duration) {
	m.decisions.WithLabelValues(channel, outcome).Inc()
	m.answered.WithLabelValues(channel).Observe(took.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
