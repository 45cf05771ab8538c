package pagerduty

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// delivery is what is taken from a webhook of version 3.
type delivery struct {
	eventType string
	at        time.Time
	incident  string // the rest only for events about incidents
	service   string
	title     string
	url       string
	own       bool // muster's events opened it
}

// parse reads the body of a webhook whose signature was verified. Events about other things than incidents have no more than a type.
func parse(body []byte) (delivery, error) {
	var text struct {
		Event struct {
			Type       string    `json:"event_type"`
			OccurredAt time.Time `json:"occurred_at"`
			Client     *struct {
				Name string `json:"name"`
			} `json:"client"`
			Data json.RawMessage `json:"data"`
		} `json:"event"`
	}
	if err := json.Unmarshal(body, &text); err != nil {
		return delivery{}, fmt.Errorf("read a PagerDuty webhook: %w", err)
	}
	d := delivery{eventType: oneLine(text.Event.Type, 100), at: text.Event.OccurredAt}
	if d.eventType == "" {
		return delivery{}, errors.New("read a PagerDuty webhook: event.event_type is missing")
	}
	if d.eventType != "incident.triggered" {
		return d, nil
	}
	var data struct {
		ID      string `json:"id"`
		Type    string `json:"type"`
		HTMLURL string `json:"html_url"`
		Title   string `json:"title"`
		Key     string `json:"incident_key"`
		Service struct {
			ID string `json:"id"`
		} `json:"service"`
	}
	if err := json.Unmarshal(text.Event.Data, &data); err != nil {
		return delivery{}, fmt.Errorf("read a PagerDuty webhook: event.data: %w", err)
	}
	if data.Type != "incident" || !identifier.MatchString(data.ID) || !identifier.MatchString(data.Service.ID) {
		return delivery{}, errors.New("read a PagerDuty webhook: event.data is not an incident with an ID and a service")
	}
	if d.at.IsZero() {
		return delivery{}, errors.New("read a PagerDuty webhook: event.occurred_at is missing")
	}
	d.incident, d.service, d.title = data.ID, data.Service.ID, oneLine(data.Title, 255)
	d.own = strings.HasPrefix(data.Key, ownPrefix) || text.Event.Client != nil && text.Event.Client.Name == ownClient
	if u, err := url.Parse(data.HTMLURL); err == nil && len(data.HTMLURL) <= 2000 && u.Scheme == "https" && u.Host != "" && u.User == nil {
		d.url = u.String()
	}
	return d, nil
}
