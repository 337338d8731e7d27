// Runs a kernel of SOURCE on the CPU: blocks one after the other, threads as fibers.
#include "cuda_host.h"
#include SOURCE

typedef void (*Kernel)(Job);
static Kernel chosen;
static const Job *given;

static void fiber() {
    chosen(*given);
    ended[running] = true;
    swapcontext(&fibers[running], &scheduler);
}

// Threads go in rising or falling order between barriers, so that a missing one shows in either.
// 1 if some threads of a block ended while others waited for them at a barrier.
static int run_block(int block, bool backwards, char *stacks, size_t stack) {
    blockIdx.x = block;
    for (int t = 0; t < THREADS; t++) {
        getcontext(&fibers[t]);
        fibers[t].uc_stack.ss_sp = stacks + t * stack;
        fibers[t].uc_stack.ss_size = stack;
        fibers[t].uc_link = nullptr;
        makecontext(&fibers[t], fiber, 0);
        ended[t] = false;
    }
    for (int left = THREADS; left;) {
        left = 0;
        for (int t = 0; t < THREADS; t++) {
            running = backwards ? THREADS - 1 - t : t;
            threadIdx.x = running;
            swapcontext(&scheduler, &fibers[running]);
            left += !ended[running];
        }
        if (left && left != THREADS) return 1;
    }
    return 0;
}

extern "C" int host_launch(const char *name, const Job *job, int blocks, int backwards) {
    const size_t stack = 1 << 16;
    std::vector<char> stacks(THREADS * stack);
    given = job;
    chosen = !std::strcmp(name, "resize8")    ? resize8
             : !std::strcmp(name, "resize16") ? resize16
             : !std::strcmp(name, "sums")     ? sums
             : !std::strcmp(name, "finish")   ? finish
                                              : nullptr;
    if (!chosen) return 2;
    for (int block = 0; block < blocks; block++)
        if (int wrong = run_block(block, backwards, stacks.data(), stack)) return wrong;
    return 0;
}
