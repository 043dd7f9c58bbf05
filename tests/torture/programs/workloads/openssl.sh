# openssl with libcrypto and libssl: digests, ciphers, keys, signatures, certificates; much of it is hand-written assembly.
source "$here/data.sh"
prepare() {
	make_data "$input"
	echo other >"$input/other"
}
files() {
	readlink -f /usr/bin/openssl
	echo /usr/lib/x86_64-linux-gnu/libcrypto.so.3
	echo /usr/lib/x86_64-linux-gnu/libssl.so.3
}
# What makes a random number is asked only whether it fits together again.
work() {
	local name size key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
	export OPENSSL_CONF=/dev/null
	for name in md5 sha1 sha224 sha256 sha384 sha512 sha512-256 sha3-256 sha3-512 shake128 blake2b512 blake2s256 sm3 ripemd160; do
		try "digest-$name" "$bin/openssl" dgst "-$name" "$input/text" "$input/code" "$input/tiny" "$input/empty"
		[[ $name == shake* ]] || try "hmac-$name" "$bin/openssl" dgst "-$name" -hmac key "$input/code"
	done
	for name in aes-128-cbc aes-256-cbc aes-256-ctr aes-192-cbc aes-128-cfb aes-256-ofb camellia-256-cbc aria-128-ctr chacha20 des-ede3-cbc sm4-ctr; do
		size=64
		[[ $name != *-128-* && $name != sm4* && $name != aria* ]] || size=32
		[[ $name != *192* && $name != des* ]] || size=48
		try "cipher-$name" "$bin/openssl" enc "-$name" -K "${key:0:size}" -iv 0102030405060708090a0b0c0d0e0f10 -in "$input/code"
		try "cipher-$name.back" "$bin/openssl" enc -d "-$name" -K "${key:0:size}" -iv 0102030405060708090a0b0c0d0e0f10 -in "cipher-$name"
	done
	try pbkdf "$bin/openssl" enc -aes-256-cbc -pbkdf2 -iter 2000 -S 0102030405060708 -k secret -in "$input/text"
	try primes "$bin/openssl" prime 170141183460469231731687303715884105727 32416190071 32416190073
	for name in 'RSA -pkeyopt rsa_keygen_bits:2048' 'EC -pkeyopt ec_paramgen_curve:P-256' 'EC -pkeyopt ec_paramgen_curve:P-521' ED25519 ED448; do
		# shellcheck disable=SC2086
		"$bin/openssl" genpkey -algorithm $name -out key.pem >/dev/null 2>&1
		"$bin/openssl" pkey -in key.pem -pubout -out public.pem 2>/dev/null
		"$bin/openssl" pkeyutl -sign -rawin -inkey key.pem -in "$input/tiny" -out signature 2>/dev/null
		try "verify-${name//[ :]/}" "$bin/openssl" pkeyutl -verify -rawin -pubin -inkey public.pem -sigfile signature -in "$input/tiny"
		try_wrong "refuse-${name//[ :]/}" "$bin/openssl" pkeyutl -verify -rawin -pubin -inkey public.pem -sigfile signature -in "$input/other"
		"$bin/openssl" req -x509 -new -key key.pem -subj /CN=torture -days 9 -out certificate.pem 2>/dev/null
		try "certificate-${name//[ :]/}" "$bin/openssl" verify -CAfile certificate.pem certificate.pem
	done
	rm -f key.pem public.pem signature certificate.pem
	try asn1 "$bin/openssl" asn1parse -genstr 'EXPLICIT:7,UTF8:hello'
	try list "$bin/openssl" list -digest-algorithms -cipher-algorithms -public-key-algorithms
	try ciphers "$bin/openssl" ciphers -v ALL
	# Errors begin with the address of the thread's data.
	sed -i -E 's/^[0-9A-F]{16}:error:/THREAD:error:/' refuse-* verify-* primes
}
