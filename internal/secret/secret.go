// Package secret turns references to secrets into secrets, inside activities and nowhere else.
package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/musterhq/muster/runbooks"
)

// maxSize bounds a secret's file: keys and passwords are far smaller, and a wrong path may be a log or a device.
const maxSize = 64 << 10

// Valid says whether ref has the form of a reference. Its errors never repeat ref.
func Valid(ref runbooks.Secret) error { return ref.Valid() }

// Resolve reads the secret that ref names, each time anew, so that a rotated secret is seen at once.
// A file's last line break is not part of its secret. Errors name the variable or the file, never a value.
func Resolve(ctx context.Context, ref runbooks.Secret) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("resolve a secret: %w", err)
	}
	if err := ref.Valid(); err != nil {
		return "", fmt.Errorf("resolve a secret: %w", err)
	}
	scheme, name, _ := strings.Cut(string(ref), ":")
	if scheme == "env" {
		value, set := os.LookupEnv(name)
		if !set {
			return "", fmt.Errorf("resolve secret %s: the variable is not set in the environment of this process", ref)
		}
		if value == "" {
			return "", fmt.Errorf("resolve secret %s: the variable is empty", ref)
		}
		return value, nil
	}
	value, err := read(name)
	if err != nil {
		return "", fmt.Errorf("resolve secret %s: %w", ref, err)
	}
	return value, nil
}

func read(path string) (string, error) {
	// Without O_NONBLOCK, opening a named pipe would wait for its writer.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", reason(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return "", reason(err)
	}
	if info.IsDir() {
		return "", errors.New("it is a directory; expected a file that holds the secret alone")
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("it is not a regular file (%s)", info.Mode().Type())
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return "", reason(err)
	}
	if len(text) > maxSize {
		return "", fmt.Errorf("it is larger than %d KiB; expected a file that holds the secret alone", maxSize>>10)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if value == "" {
		return "", errors.New("it is empty")
	}
	return value, nil
}

// reason drops the path from err, the reference says it already.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
