/*
 * SIGHUP: a thread begins to write PART_TOTAL bytes into a pipe, by as few calls as it takes, and says for each what it returned: a stop makes a call that
 * waits for room with a part of its bytes written return that part, as SIGSTOP and SIGCONT do. SIGUSR1: all is read; says whether all bytes came, in
 * order. SIGTERM: ends. Exit 1 when they did not.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PART_TOTAL = 1 << 20 };

unsigned char hot_byte(unsigned i);
static int ends[2];
static unsigned char sent[PART_TOTAL], got[PART_TOTAL];

/* To be moved. */
__attribute__((noinline)) unsigned char hot_byte(unsigned i)
{
	unsigned mixed = i * 7;
	for (unsigned k = 0; k < 4; k++)
		mixed ^= i >> (8 - k);
	return (unsigned char)mixed;
}

static void *write_all(void *unused)
{
	puts("begins"); /* and has all memory for that */
	fflush(stdout);
	for (ssize_t done = 0, n; done < PART_TOTAL; done += n) {
		n = write(ends[1], sent + done, (size_t)(PART_TOTAL - done));
		if (n < 0) {
			printf("WRONG: %m\n");
			return unused;
		}
		printf("wrote %zd\n", n);
		fflush(stdout);
	}
	return unused;
}

static int read_all(pthread_t writer)
{
	for (ssize_t done = 0, n; done < PART_TOTAL; done += n) {
		n = read(ends[0], got + done, (size_t)(PART_TOTAL - done));
		if (n <= 0)
			return 1;
	}
	pthread_join(writer, NULL);
	int wrong = memcmp(sent, got, PART_TOTAL) != 0;
	puts(wrong ? "WRONG bytes" : "all came");
	fflush(stdout);
	return wrong;
}

int main(void)
{
	pthread_t writer;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (unsigned i = 0; i < PART_TOTAL; i++)
		sent[i] = hot_byte(i);
	for (int signal, failed = pipe(ends); !failed && !sigwait(&set, &signal);) {
		if (signal == SIGTERM)
			return 0;
		failed = signal == SIGHUP ? pthread_create(&writer, NULL, write_all, NULL) : read_all(writer);
	}
	return 1;
}
