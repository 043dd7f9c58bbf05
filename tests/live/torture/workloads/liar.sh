# Work that fails by itself: nothing could be learned from it.
prepare() { :; }
files() { readlink -f /usr/bin/gzip; }
work() {
	try right "$bin/gzip" --version
	try wrong "$bin/gzip" -t "$input"
}
