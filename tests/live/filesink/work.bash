declare -A seen
s=7
for ((i = 0; i < 3000; i++)); do
	((s = (s * 1103515245 + 12345) & 0x7fffffff))
	((seen[$((s / 65536 % 97))]++))
done
for k in $(printf '%s\n' "${!seen[@]}" | sort -n); do printf '%s=%s ' "$k" "${seen[$k]}"; done
fib() { local n=$1; ((n < 2)) && { echo 1; return; }; echo $(($(fib $((n - 1))) + $(fib $((n - 2))))); }
fib 8
x='hello world foo'
echo "${x//o/0}" "${x^^}" "${x#* }" "${x%% *}" "${#x}" "${x:2:5}" "${x/w*d/W}"
[[ $x =~ (w[a-z]+) ]] && echo "${BASH_REMATCH[1]}"
printf 'a b\nc d\n' | while read -r l; do echo "got $l"; done
trap 'echo trap' USR1
kill -USR1 $$
case abc in a*) echo A ;; esac
arr=(3 1 2)
(IFS=,; echo "${arr[*]}")
printf '%q %5.2f %x\n' 'a b$' 3.14159 255
set -- 1 2 3
shift
echo "$@" {1..5}{a,b} $((2 ** 40 % 1000)) $(echo nested "$(echo deeper)")
(exit 3)
echo $?
type fib
sleep 0 & wait
echo end
nowhere_command
