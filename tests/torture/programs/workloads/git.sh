# git: a repository that is made, changed, packed, cloned, bisected and read in many ways. All parts of git are the copy.
prepare() {
	command -v git >/dev/null || { echo 'no git'; return 77; }
	perl "$here/history.pl" >"$input/history"
}
files() { readlink -f /usr/bin/git; }
core() {
	local file
	rm -rf "$bin/core"
	mkdir "$bin/core"
	for file in /usr/lib/git-core/*; do
		if [[ $(readlink -f "$file") == "$(readlink -f /usr/bin/git)" || ${file##*/} == git ]]; then
			ln -s ../git "$bin/core/${file##*/}"
		else
			ln -s "$file" "$bin/core/${file##*/}"
		fi
	done
}
work() {
	core
	export GIT_EXEC_PATH=$bin/core PATH=$bin:$bin/core:$PATH HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
	export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_PAGER=cat
	git init -q -b main r
	cd r || return
	git config pack.threads 1
	try ../import git fast-import --quiet <"$input/history"
	try ../reset git reset -q --hard main
	try ../log git log --stat -M --graph --decorate --format=fuller --all
	try ../patches git log -p --full-diff -w --histogram main
	try ../patience git log -p --patience --word-diff -5 main
	try ../shortlog git shortlog -sne main
	try ../blame git blame -C -M file3
	try ../grep git grep -nE 'a[b-f]+|x{1,2}' main
	try ../pickaxe git log -S42 --oneline
	try_wrong ../merge git merge -q -m merged side
	try ../conflicts git diff --cc
	git checkout -q -f main
	git reset -q --hard
	try_wrong ../rebase git rebase -q main~12 --onto main~20
	git rebase --abort 2>/dev/null
	git checkout -q -f -B main refs/heads/keep
	echo changed >>file1
	try ../status git status --porcelain=v2 -b
	try ../stash git stash -q
	try ../pop git stash pop -q
	try ../commit git commit -q -a -m changed
	try ../pick git cherry-pick -x side~3 -X theirs
	try ../revert git revert --no-edit HEAD~2 -X ours
	try ../tag git tag -a -m tagged v1 main~3
	try ../describe git describe --always main
	try ../archive git archive --format=tar main
	try ../bundle git bundle create -q ../b.bundle --all
	try ../repack git repack -q -a -d -f --depth=20 --window=10
	try ../gc git gc -q --prune=now
	try ../fsck git fsck --full --strict
	try ../verify git verify-pack -v .git/objects/pack/*.idx
	try ../objects git cat-file --batch-check --batch-all-objects
	# One that takes its time, so that layouts can be applied while it works.
	git rev-list --objects main~30..main | cut -d' ' -f1 >../names
	try ../batch git cat-file --batch < <(slowly ../names)
	try ../listed git ls-tree -r -l main
	try ../revs git rev-list --objects --all
	try ../format git format-patch -q --stdout main~6..main
	try ../graph git commit-graph write --reachable
	try ../index git multi-pack-index write
	try ../cloned git clone -q --no-local . ../clone
	try ../shallowed git clone -q --depth 3 "file://$PWD" ../shallow
	try ../bisect git bisect start main main~15
	try ../bisect-run git bisect run sh -c '! grep -q 7 file2'
	try ../worktree git -C ../clone worktree add -q ../tree main~2
	try ../notes git notes add -m note main
	try ../names git name-rev --all
	try ../range git range-diff main~8..main~4 main~8..main~3
	try ../difftool git diff --color-words --stat --dirstat main~9 main
	try_wrong ../apply git apply --stat --check ../patches
	cd ..
	(cd shallow && find . -type f ! -name '*.idx' ! -name 'index' | grep -v '/\.git/' | sort | xargs sha1sum) >shallow.sums
	mv r/cases . 2>/dev/null
	sed -i 's#^\.\./##' cases
	# What holds times of files, or was named by a clock.
	rm -rf r clone shallow tree
	sed -i "s#$PWD#DIR#g" ./*[a-z]
}
