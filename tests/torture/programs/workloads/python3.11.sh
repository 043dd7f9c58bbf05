# python3.11: its own regression tests. The list of what passed, failed and was skipped is compared.
tests='test_grammar test_builtin test_types test_dict test_list test_tuple test_set test_long test_int test_float test_complex test_bytes test_unicode
	test_string test_format test_re test_json test_pickle test_struct test_array test_heapq test_bisect test_collections test_itertools test_functools
	test_operator test_generators test_coroutines test_asyncgen test_exceptions test_traceback test_contextlib test_with test_iter test_enumerate test_slice
	test_decorators test_descr test_class test_super test_property test_dataclasses test_enum test_abc test_typing test_ast test_compile test_symtable
	test_syntax test_fstring test_opcodes test_dis test_code test_peepholer test_math test_cmath test_decimal test_fractions test_random
	test_datetime test_calendar test_textwrap test_difflib test_configparser test_base64 test_binascii test_hashlib test_hmac test_zlib test_gzip
	test_tarfile test_html test_xml_etree test_xml_etree_c test_minidom test_email test_urlparse test_copy test_copyreg
	test_weakref test_gc test_sys_settrace test_scope test_patma test_positional_only_arg test_unpack test_unpack_ex test_range test_memoryview test_buffer
	test_mmap test_io test_memoryio test_fileio test_tempfile test_glob test_fnmatch test_pathlib test_shutil test_argparse test_optparse test_getopt test_shlex
	test_string_literals test_tokenize test_ordered_dict test_userdict test_deque test_queue test_sched test_context test_charmapcodec
	test_multibytecodec test_unicodedata test_ucn test_locale test_strptime test_cmd test_pprint test_reprlib test_inspect test_pyclbr test_bool test_bigmem
	test_ctypes test_keywordonlyarg test_listcomps test_genexps test_dictviews test_userlist test_userstring test_sort test_exception_group test_except_star'
# What needs a network, minutes, other processes' timing, the sizes of this build or this very version is not in the list.
prepare() {
	local package
	package=$(unpacked libpython3.11-testsuite usr/lib/python3.11/test/test_grammar.py)
	[[ -n $package ]] || { echo 'no libpython3.11-testsuite'; return 77; }
	cat >"$input/select.py" <<-'P'
		import importlib, os, sys, unittest
		from test import support
		class Result(unittest.TestResult):
		    def note(self, test, what): lines.append(f'{test.id().replace(os.getcwd(), "DIR")} {what}')
		    def addSuccess(self, test): self.note(test, 'ok')
		    def addError(self, test, error): self.note(test, 'error ' + error[0].__name__)
		    def addFailure(self, test, error): self.note(test, 'failure')
		    def addSkip(self, test, reason): self.note(test, 'skipped')
		    def addExpectedFailure(self, test, error): self.note(test, 'expected failure')
		    def addUnexpectedSuccess(self, test): self.note(test, 'unexpected success')
		    def addSubTest(self, test, sub, error):
		        if error: self.note(sub, 'failure in part')
		loader = unittest.defaultTestLoader
		def run(*tests):
		    unittest.TestSuite(loader.loadTestsFromTestCase(t) if isinstance(t, type) else t for t in tests).run(Result())
		# As regrtest does it, without tests that need much time, memory or a network.
		support.verbose, support.use_resources, support.run_unittest, support.run_doctest = 0, [], run, lambda *a, **k: (0, 0)
		for name in sys.argv[1:]:
		    lines = []
		    with open(name + '.cases', 'w') as out:
		        try:
		            module = importlib.import_module('test.' + name)
		            module.test_main() if hasattr(module, 'test_main') else run(loader.loadTestsFromModule(module))
		        except unittest.SkipTest:
		            lines.append(name + ' skipped')
		        print(*lines, sep='\n', file=out)
	P
	# The package holds the tests alone; what they use is with the library.
	testsuite=$input/python
	mkdir -p "$testsuite"
	cp -r /usr/lib/python3.11/test "$testsuite/" && cp -r "${package%/*}" "$testsuite/"
}
files() { readlink -f /usr/bin/python3.11; }
work() {
	local group=() name n=0 all
	export PYTHONPATH=$testsuite PYTHONDONTWRITEBYTECODE=1 TMPDIR=$PWD
	read -r -d '' -a all <<<"$tests"
	for name in "${all[@]}"; do
		group+=("$name")
		if ((${#group[@]} == 22)) || ((++n == ${#all[@]})); then
			"$bin/python3.11" -W ignore "$input/select.py" "${group[@]}" >/dev/null 2>&1
			echo "group $n exit $?" >>ends
			group=()
		fi
	done
	sort ./*.cases >cases
	find . -mindepth 1 -maxdepth 1 ! -name '*.cases' ! -name cases ! -name ends -exec rm -rf {} +
}
# The tests may be those of another minor version than the program, so that a few fail.
sane() {
	local bad="( error [A-Za-z]*| failure| failure in part| unexpected success)$"
	! grep -v ' exit 0$' ends || return 1
	(($(grep -c ' ok$' cases) > 10000 && $(grep -cE "$bad" cases) < 60)) || { grep -E "$bad" cases; wc -l cases; return 1; }
}
