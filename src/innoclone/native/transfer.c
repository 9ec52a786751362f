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

/* Send `length` bytes through TLS, `*sent` of which are gone already. */
static int send_tls(struct channel *channel, const uint8_t *from, size_t length, size_t *sent) {
    int64_t deadline = now() + channel->wait;
    while (*sent < length) {
        int state = GO_ON;
        errno = 0;
        channel->tls->clear_errors();
        int result = channel->tls->write(channel->session, from + *sent, at_most(length - *sent, TLS_PIECE));
        if (result > 0) *sent += (size_t)result;
        else state = after_tls(channel, result, errno, deadline);
        if (state == ENDED) state = failed(channel, EPIPE);
        if (state != GO_ON) return state;
        if (*sent < length && now() >= deadline) return TIME_IS_UP;
    }
    return DONE;
}

/* Send `count` bytes of a file, `*sent` of which are gone already: inside the kernel on a plain channel, else through
 * `buffer`. ENDED: the file is shorter. */
EXPORT int innoclone_send_file(struct channel *channel, int file, uint64_t offset, size_t count, uint8_t *buffer,
                               size_t room, size_t *sent) {
    if (!is_sound(channel) || file < 0 || !sent || *sent > count || offset > INT64_MAX - count) return REFUSED;
    if (channel->tls) { /* the pieces begin at multiples of the room, so that one that went in part is sent on as it was */
        if (!buffer || !room) return REFUSED;
        while (*sent < count) {
            size_t skip = *sent % room, begin = *sent - skip, piece = count - begin < room ? count - begin : room;
            ssize_t got = pread(file, buffer, piece, (off_t)(offset + begin));
            if (got < 0) {
                if (errno == EINTR) continue;
                channel->error = errno;
                return FILE_FAILED;
            }
            if ((size_t)got < piece) return ENDED;
            int state = send_tls(channel, buffer, piece, &skip);
            *sent = begin + skip;
            if (state != DONE) return state;
        }
        return DONE;
    }
    int64_t deadline = now() + channel->wait;
    while (*sent < count) {
        off_t at = (off_t)(offset + *sent);
        ssize_t result = sendfile(channel->fd, file, &at, count - *sent);
        int state = GO_ON;
        if (result == 0) return ENDED;
        if (result > 0) *sent += (size_t)result;
        else if (errno == EAGAIN || errno == EWOULDBLOCK) state = await(channel, POLLOUT, deadline);
        else state = failed(channel, errno);
        if (state != GO_ON) return state;
        if (*sent < count && now() >= deadline) return TIME_IS_UP;
    }
    return DONE;
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
