/* A thread that writes one piece while the next is received.
 *
 * Who gives a piece keeps it unchanged until it has waited; then it knows how it went. One giver at a time.
 */
#define _GNU_SOURCE
#include "native.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum course { IDLE, GIVEN, ENDING };

struct behind {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum course course;
    int file, state;
    const uint8_t *from;
    size_t length, alignment, written;
    uint64_t offset;
    int32_t error;
};

static void *work(void *argument) {
    struct behind *behind = argument;
    pthread_mutex_lock(&behind->lock);
    while (behind->course != ENDING) {
        if (behind->course == IDLE) {
            pthread_cond_wait(&behind->changed, &behind->lock);
            continue;
        }
        pthread_mutex_unlock(&behind->lock); /* nobody else touches the piece meanwhile */
        size_t written = 0;
        int32_t error = 0;
        int state = innoclone_write(behind->file, behind->from, behind->length, behind->offset, behind->alignment,
                                    &written, &error);
        pthread_mutex_lock(&behind->lock);
        behind->state = state;
        behind->written = written;
        behind->error = error;
        behind->course = IDLE;
        pthread_cond_signal(&behind->changed);
    }
    pthread_mutex_unlock(&behind->lock);
    return NULL;
}

EXPORT struct behind *innoclone_behind_new(void) {
    struct behind *behind = calloc(1, sizeof *behind);
    if (!behind) return NULL;
    behind->state = DONE;
    pthread_mutex_init(&behind->lock, NULL);
    pthread_cond_init(&behind->changed, NULL);
    sigset_t all, before; /* signals are for Python's own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&behind->thread, NULL, work, behind);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed) return behind;
    free(behind);
    return NULL;
}

/* Begin to write; refused while a piece is being written. */
EXPORT int innoclone_behind_give(struct behind *behind, int file, const uint8_t *from, size_t length, uint64_t offset,
                                 size_t alignment) {
    if (!behind || file < 0 || !from || offset > INT64_MAX - length) return REFUSED;
    pthread_mutex_lock(&behind->lock);
    int is_free = behind->course == IDLE;
    if (is_free) {
        behind->file = file;
        behind->from = from;
        behind->length = length;
        behind->offset = offset;
        behind->alignment = alignment;
        behind->course = GIVEN;
        pthread_cond_signal(&behind->changed);
    }
    pthread_mutex_unlock(&behind->lock);
    return is_free ? DONE : REFUSED;
}

/* Until the last piece is written, or has failed: as `innoclone_write` says. */
EXPORT int innoclone_behind_wait(struct behind *behind, size_t *written, int32_t *error) {
    if (!behind || !written || !error) return REFUSED;
    pthread_mutex_lock(&behind->lock);
    while (behind->course == GIVEN) pthread_cond_wait(&behind->changed, &behind->lock);
    *written = behind->written;
    *error = behind->error;
    int state = behind->state;
    pthread_mutex_unlock(&behind->lock);
    return state;
}

/* After what was given last is written. */
EXPORT void innoclone_behind_free(struct behind *behind) {
    if (!behind) return;
    pthread_mutex_lock(&behind->lock);
    while (behind->course == GIVEN) pthread_cond_wait(&behind->changed, &behind->lock);
    behind->course = ENDING;
    pthread_cond_signal(&behind->changed);
    pthread_mutex_unlock(&behind->lock);
    pthread_join(behind->thread, NULL);
    pthread_cond_destroy(&behind->changed);
    pthread_mutex_destroy(&behind->lock);
    free(behind);
}
