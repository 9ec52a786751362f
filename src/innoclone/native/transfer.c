/* Bytes between a connection, memory and a file, in one call for many.
 *
 * No call waits longer than the channel's `wait` without coming back, so that Python can see to timeouts and to stopping.
 */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SSL_ERROR_WANT_READ = 2, SSL_ERROR_WANT_WRITE = 3, SSL_ERROR_SYSCALL = 5, SSL_ERROR_ZERO_RETURN = 6 };
enum { GO_ON = -2 };
enum { CACHED_PIECE = 256 << 10 }; /* still in the processor's cache when it is encrypted */
enum { TLS_PIECE = 64 << 10 }; /* SSL_write tells only of all it was given: small, so that slow is not silent */

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static int failed(struct channel *channel, int error) {
    channel->error = error;
    return error == EINTR ? SIGNALLED : BROKEN;
}

/* Until the socket is ready or it is `deadline`. */
static int await(struct channel *channel, short events, int64_t deadline) {
    struct pollfd waiting = {channel->fd, events, 0};
    int64_t left = deadline - now();
    int ready = left > 0 ? poll(&waiting, 1, left > INT_MAX ? INT_MAX : (int)left) : 0;
    if (ready < 0) return failed(channel, errno);
    return ready ? GO_ON : TIME_IS_UP;
}

/* What a result of SSL_read or SSL_write means that is no number of bytes. */
static int after_tls(struct channel *channel, int result, int error, int64_t deadline) {
    int kind = channel->tls->get_error(channel->session, result);
    if (kind == SSL_ERROR_WANT_READ) return await(channel, POLLIN, deadline);
    if (kind == SSL_ERROR_WANT_WRITE) return await(channel, POLLOUT, deadline);
    if (kind == SSL_ERROR_ZERO_RETURN) return ENDED;
    channel->tls_error = channel->tls->last_error();
    channel->tls->clear_errors();
    if (kind == SSL_ERROR_SYSCALL && !channel->tls_error) return error ? failed(channel, error) : ENDED;
    return TLS_BROKEN;
}

static int at_most(size_t count, int limit) { return count > (size_t)limit ? limit : (int)count; }

/* Some bytes, as many as come at once. */
static int receive_some(struct channel *channel, uint8_t *into, size_t wanted, int64_t deadline, size_t *count) {
    *count = 0;
    errno = 0;
    if (channel->tls) {
        channel->tls->clear_errors();
        int result = channel->tls->read(channel->session, into, at_most(wanted, INT_MAX));
        if (result <= 0) return after_tls(channel, result, errno, deadline);
        *count = (size_t)result;
        return GO_ON;
    }
    ssize_t result = recv(channel->fd, into, wanted, MSG_WAITALL); /* one wake-up for all, where the socket blocks */
    if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return await(channel, POLLIN, deadline);
    if (result < 0) return failed(channel, errno);
    *count = (size_t)result;
    return result ? GO_ON : ENDED;
}

static int is_sound(const struct channel *channel) {
    return channel && channel->fd >= 0 && (!channel->tls || channel->session);
}

/* Fill `into` up to `wanted` bytes, `*received` of which are there already. */
EXPORT int innoclone_receive(struct channel *channel, uint8_t *into, size_t room, size_t wanted, size_t *received) {
    if (!is_sound(channel) || !into || !received || wanted > room || *received > wanted) return REFUSED;
    int64_t deadline = now() + channel->wait;
    while (*received < wanted) {
        size_t count;
        int state = receive_some(channel, into + *received, wanted - *received, deadline, &count);
        *received += count;
        if (state != GO_ON) return state;
        if (*received < wanted && now() >= deadline) return TIME_IS_UP;
    }
    return DONE;
}

/* Some of `length` bytes. */
static int send_some(struct channel *channel, const uint8_t *from, size_t length, int64_t deadline, size_t *count) {
    *count = 0;
    errno = 0;
    if (channel->tls) {
        channel->tls->clear_errors();
        int result = channel->tls->write(channel->session, from, at_most(length, TLS_PIECE));
        if (result > 0) *count = (size_t)result;
        int state = result > 0 ? GO_ON : after_tls(channel, result, errno, deadline);
        return state == ENDED ? failed(channel, EPIPE) : state;
    }
    ssize_t result = send(channel->fd, from, length, MSG_NOSIGNAL);
    if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return await(channel, POLLOUT, deadline);
    if (result < 0) return failed(channel, errno);
    *count = (size_t)result;
    return GO_ON;
}

/* Inside the kernel. */
static int send_cached(struct channel *channel, struct sending *it, int64_t deadline) {
    while (it->sent < it->count) {
        off_t at = (off_t)(it->offset + it->sent);
        ssize_t result = sendfile(channel->fd, it->file, &at, it->count - it->sent);
        int state = GO_ON;
        if (result == 0) return ENDED;
        if (result > 0) it->sent += (size_t)result;
        else if (errno == EAGAIN || errno == EWOULDBLOCK) state = await(channel, POLLOUT, deadline);
        else state = failed(channel, errno);
        if (state != GO_ON) return state;
        if (it->sent < it->count && now() >= deadline) return TIME_IS_UP;
    }
    return DONE;
}

/* Through the buffer. The pieces begin at multiples of `room`, so that one that went in part is sent on as it was. */
static int send_read(struct channel *channel, struct sending *it, size_t room, int64_t deadline) {
    while (it->sent < it->count) {
        size_t skip = it->sent % room, begin = it->sent - skip, piece = it->count - begin < room ? it->count - begin : room;
        ssize_t got = pread(it->way == DIRECTLY ? it->direct : it->file, it->buffer, piece, (off_t)(it->offset + begin));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EINVAL && it->way == DIRECTLY && !it->sent) { /* not in this file system */
            it->way = THROUGH_CACHE;
            return channel->tls ? send_read(channel, it, room, deadline) : send_cached(channel, it, deadline);
        }
        if (got < 0) {
            channel->error = errno;
            return FILE_FAILED;
        }
        if ((size_t)got < piece) return ENDED;
        while (skip < piece) {
            size_t count;
            int state = send_some(channel, it->buffer + skip, piece - skip, deadline, &count);
            skip += count;
            it->sent = begin + skip;
            if (state != GO_ON) return state;
            if (it->sent < it->count && now() >= deadline) return TIME_IS_UP;
        }
    }
    return DONE;
}

static int choose(const struct sending *it) {
    if (it->direct < 0 || (it->offset | it->count | it->room | (uintptr_t)it->buffer) % ALIGNMENT) return THROUGH_CACHE;
    if (it->count > MOST_RESIDENT || is_resident(it->file, it->offset, it->count)) return THROUGH_CACHE;
    return DIRECTLY;
}

/* Send `count` bytes of a file, `sent` of which are gone already. What is in the page cache comes from there: on a plain
 * channel inside the kernel; what is not comes with O_DIRECT, if that is possible. ENDED: the file is shorter. Where `way`
 * is UNDECIDED it is decided, and stays so until all is sent. */
EXPORT int innoclone_send_file(struct channel *channel, struct sending *it) {
    if (!is_sound(channel) || !it || it->file < 0 || it->sent > it->count || it->offset > INT64_MAX - it->count) return REFUSED;
    if (!it->buffer || !it->room) return REFUSED;
    if (it->way == UNDECIDED) it->way = choose(it);
    int64_t deadline = now() + channel->wait;
    if (it->way == DIRECTLY) return send_read(channel, it, it->room, deadline);
    if (channel->tls) return send_read(channel, it, it->room < CACHED_PIECE ? it->room : CACHED_PIECE, deadline);
    return send_cached(channel, it, deadline);
}

/* Write all of `from` at `offset`; with `alignment`, as O_DIRECT wants it, only a full disk stops short of a multiple. */
EXPORT int innoclone_write(int file, const uint8_t *from, size_t length, uint64_t offset, size_t alignment,
                           size_t *written, int32_t *error) {
    if (file < 0 || !from || !written || !error || *written > length || offset > INT64_MAX - length) return REFUSED;
    if (alignment && (offset % alignment || length % alignment || (uintptr_t)from % alignment)) return REFUSED;
    while (*written < length) {
        ssize_t result = pwrite(file, from + *written, length - *written, (off_t)(offset + *written));
        if (result < 0 && errno == EINTR) continue;
        if (result <= 0 || (alignment && (size_t)result % alignment)) {
            *error = result < 0 ? errno : ENOSPC;
            return FILE_FAILED;
        }
        *written += (size_t)result;
    }
    return DONE;
}
