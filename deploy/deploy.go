// Package deploy carries the files that set up a machine for muster into the binaries that need them.
package deploy

import _ "embed"

// InstallPackages is a POSIX shell script that installs missing Debian packages: `sh -c TEXT muster PACKAGE...`, with
// INSTALL_COMMAND set to what a person would type to run it again. It exits with 3 where it needs root.
//
//go:embed install-packages
var InstallPackages string
