package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far the time of a signature may be from the receiver's clock, either way.
const Tolerance = 5 * time.Minute

// maxSignatures bounds the work that a header from outside can ask for; two are in use while a key is being changed.
const maxSignatures = 16

// Sign returns the value of the header Muster-Signature: HMAC-SHA256 of "<unix seconds>.<body>" in hex.
func Sign(key, body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(digest(key, t, body))
}

// Verify says why header is not a signature of body made with key within Tolerance of now; nil: it is one. It needs the standard
// library only: copy it into your receiver, and call it with the raw body before anything reads the JSON.
// Several v1 are fine, one has to hold; other schemes are passed over.
func Verify(key []byte, header string, body []byte, now time.Time) error {
	if len(key) == 0 {
		return errors.New("verify a webhook: the key is empty")
	}
	if header == "" {
		return errors.New("verify a webhook: the header Muster-Signature is missing")
	}
	stamp, signatures := "", [][]byte(nil)
	for _, part := range strings.Split(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			if stamp != "" {
				return errors.New("verify a webhook: the header has two times")
			}
			stamp = value
		case "v1":
			signature, err := hex.DecodeString(value)
			if err != nil || len(signature) != sha256.Size || len(signatures) == maxSignatures {
				return errors.New("verify a webhook: the header is malformed; expected t=<unix seconds>,v1=<64 hex digits>")
			}
			signatures = append(signatures, signature)
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || len(signatures) == 0 {
		return errors.New("verify a webhook: the header is malformed; expected t=<unix seconds>,v1=<64 hex digits>")
	}
	// The signature first: an unsigned time says nothing. It is of the text that was sent, so that t=+1 is not t=1.
	want, valid := digest(key, stamp, body), false
	for _, signature := range signatures {
		if hmac.Equal(want, signature) {
			valid = true
		}
	}
	if !valid {
		return errors.New("verify a webhook: the signature does not fit the body: another key, or the body was changed")
	}
	if age := now.Unix() - seconds; age > int64(Tolerance/time.Second) || age < -int64(Tolerance/time.Second) {
		return fmt.Errorf("verify a webhook: it was signed at %s, more than %s from now: replayed, or a clock is wrong",
			time.Unix(seconds, 0).UTC().Format(time.RFC3339), Tolerance)
	}
	return nil
}

func digest(key []byte, t string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(t))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return mac.Sum(nil)
}
