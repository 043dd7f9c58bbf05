#include "apply/exec_privilege.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static bool has_capability(unsigned capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	return !syscall(SYS_capget, &header, data) && data[capability / 32].effective >> capability % 32 & 1;
}

bool exec_privilege_needed(const char *path)
{
	struct stat s;
	struct statvfs mount;
	if (stat(path, &s) || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 || has_capability(CAP_SYS_PTRACE))
		return false;
	if (!statvfs(path, &mount) && mount.f_flag & ST_NOSUID)
		return false;
	if (s.st_mode & S_ISUID && s.st_uid != geteuid())
		return true;
	/* Without the group's execute bit it asks for mandatory locks: inode(7). */
	if (s.st_mode & S_ISGID && s.st_mode & S_IXGRP && s.st_gid != getegid())
		return true;
	return geteuid() && getxattr(path, "security.capability", NULL, 0) > 0;
}
