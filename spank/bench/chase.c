#include "chase.h"

#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

#define LINE 64

struct line {
	struct line *next;
	char rest[LINE - sizeof(struct line *)];
};

/* xorshift64: the same cycle each time. */
static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* One cycle through all lines (Sattolo): each is swapped with an earlier one. */
static void link_lines(struct line *lines, size_t count)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = 0; i < count; i++)
		lines[i].next = &lines[i];
	for (size_t i = count - 1; i > 0; i--) {
		struct line *const other = &lines[draw(&state) % i];
		struct line *const next = lines[i].next;

		lines[i].next = other->next;
		other->next = next;
	}
}

/* The time that this thread ran: what others take on a busy machine is not the memory's latency. */
static double now(void)
{
	struct timespec at;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at) != 0)
		return 0;
	return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

bool na_chase(size_t size, size_t loads, int runs, double *nanoseconds)
{
	const size_t count = size / LINE;
	struct line *lines;

	if (count < 2 || !loads)
		return false;
	lines = mmap(NULL, count * LINE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (lines == MAP_FAILED)
		return false;
	/* Without huge pages a load includes the walk of the page tables; if there are none, so be it. */
	(void)madvise(lines, count * LINE, MADV_HUGEPAGE);
	link_lines(lines, count);

	const struct line *at = lines;

	for (int run = 0; run < runs; run++) {
		const double begin = now();

		for (size_t i = 0; i < loads; i++) {
			at = at->next;
			/* Keeps the compiler from removing the load. */
			__asm__ volatile("" : "+r"(at));
		}
		nanoseconds[run] = (now() - begin) / (double)loads;
	}
	return munmap(lines, count * LINE) == 0;
}
