package sshsig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	begin = "-----BEGIN SSH SIGNATURE-----"
	end   = "-----END SSH SIGNATURE-----"
	// width is where ssh-keygen breaks lines.
	width = 70
	// maxArmored is four times what a 16384-bit RSA signature takes.
	maxArmored = 32 << 10
)

func armor(raw []byte) string {
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	b.WriteString(begin + "\n")
	for len(text) > 0 {
		n := min(width, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	b.WriteString(end + "\n")
	return b.String()
}

func dearmor(armored string) ([]byte, error) {
	if len(armored) > maxArmored {
		return nil, fmt.Errorf("not an SSH signature: %d bytes are more than the %d one may take", len(armored), maxArmored)
	}
	body, ok := strings.CutPrefix(strings.TrimSpace(armored), begin)
	if !ok {
		return nil, errors.New("not an SSH signature: it does not begin with " + begin)
	}
	body, ok = strings.CutSuffix(body, end)
	if !ok {
		return nil, errors.New("not an SSH signature: it does not end with " + end)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil {
		return nil, fmt.Errorf("SSH signature is not base64: %w", err)
	}
	return raw, nil
}

func fingerprintText(sum []byte) string { return base64.RawStdEncoding.EncodeToString(sum) }
