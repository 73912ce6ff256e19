package app

import (
	"fmt"
	"os"
	"strings"
)

// secretFiles are the variables that may come from a file: NAME_FILE names it.
var secretFiles = []string{"MYSQL_DSN", "MYSQL_READ_DSN", "PAYMENT_URL", "PAYMENT_SECRET", "WEBHOOK_URL", "WEBHOOK_SECRET", "API_KEYS", "ADMIN_TOKEN"}

// readSecretFiles sets each variable that has a file, without the white space at its ends.
// Errors name the variable: it is set twice, or the file cannot be read or is empty.
func readSecretFiles() error {
	for _, name := range secretFiles {
		path := os.Getenv(name + "_FILE")
		if path == "" {
			continue
		}
		if os.Getenv(name) != "" {
			return fmt.Errorf("%s and %s_FILE are both set: expected one of them", name, name)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s_FILE: %w", name, err)
		}
		secret := strings.TrimSpace(string(content))
		if secret == "" { // it would turn a protection off
			return fmt.Errorf("%s_FILE: %s is empty: expected the secret", name, path)
		}
		if err := os.Setenv(name, secret); err != nil {
			return fmt.Errorf("%s_FILE: %w", name, err)
		}
	}
	return nil
}
