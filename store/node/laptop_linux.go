package node

import (
	"os"
	"path/filepath"
	"strings"
)

// hasBattery reports whether this host runs on a battery of its own. Those of mice and
// the like have the scope Device (Documentation/ABI/testing/sysfs-class-power).
func hasBattery() bool {
	types, _ := filepath.Glob("/sys/class/power_supply/*/type") // the pattern is right
	for _, name := range types {
		read := func(file string) string {
			b, _ := os.ReadFile(file) // what cannot be read is none
			return strings.TrimSpace(string(b))
		}
		if read(name) == "Battery" && read(filepath.Join(filepath.Dir(name), "scope")) != "Device" {
			return true
		}
	}
	return false
}
