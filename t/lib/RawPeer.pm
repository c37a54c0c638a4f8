package RawPeer;

# One end of a TCP connection, driven by the default loop, that knows nothing
# of the module under test: it writes exactly the bytes it is told to, and
# keeps what it reads. An HTTP head is cut off first, the rest is frames.

use strict;
use warnings;
use EV;
use Errno qw(EAGAIN EWOULDBLOCK EINTR);
use IO::Socket::INET;
use Scalar::Util qw(weaken);
use Socket qw(IPPROTO_TCP TCP_NODELAY SOL_SOCKET SO_LINGER);
use Frame;

my $KEY = 'dGhlIHNhbXBsZSBub25jZQ==';    # the one of RFC 6455, section 1.3

# A client of the server at 127.0.0.1:$port (or at host => ...).
sub connect {
    my ($class, $port, %o) = @_;
    my $fh;
    if (($o{host} || '') =~ /:/) {
        require IO::Socket::IP;
        $fh = IO::Socket::IP->new(PeerHost => $o{host}, PeerPort => $port);
    }
    else {
        $fh = IO::Socket::INET->new(PeerAddr => $o{host} || '127.0.0.1', PeerPort => $port);
    }
    die "cannot connect to port $port: $!" if !$fh;
    return $class->new($fh, role => 'client', %o);
}

# role is client (its frames are masked) or server. on_head($peer, $head) is
# called once, when the HTTP head is complete.
sub new {
    my ($class, $fh, %o) = @_;
    my $self = bless {
        fh => $fh, role => $o{role}, on_head => $o{on_head},
        in => '', out => '', frames => [],
    }, $class;
    $fh->blocking(0);
    setsockopt $fh, IPPROTO_TCP, TCP_NODELAY, 1;
    weaken(my $weak = $self);
    $self->{reader} = EV::io($fh, EV::READ(), sub { $weak->_readable });
    $self->{writer} = EV::io_ns($fh, EV::WRITE(), sub { $weak->_writable });
    return $self;
}

sub _readable {
    my ($self) = @_;
    my $got = sysread $self->{fh}, $self->{in}, 262144, length $self->{in};
    if (!defined $got) {
        return if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
        $self->{reset} = 1;
    }
    if (!$got) {
        $self->{eof} = 1;
        $self->{reader}->stop;
    }
    $self->_cut_head;
}

sub _cut_head {
    my ($self) = @_;
    return if defined $self->{head};
    my $end = index $self->{in}, "\r\n\r\n";
    return if $end < 0;
    $self->{head} = substr $self->{in}, 0, $end + 2;
    substr($self->{in}, 0, $end + 4) = '';
    $self->{on_head}->($self, $self->{head}) if $self->{on_head};
}

sub _writable {
    my ($self) = @_;
    while (1) {
        if ($self->{source} && length $self->{out} < 65536) {
            my $more = $self->{source}->();
            defined $more ? ($self->{out} .= $more) : delete $self->{source};
        }
        last if !length $self->{out};
        my $put = syswrite $self->{fh}, $self->{out};
        if (!defined $put) {
            return $self->{writer}->start if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
            $self->{write_failed} = $!;
            delete $self->{source};
            $self->{out} = '';
            last;
        }
        $self->{written} += $put;
        substr($self->{out}, 0, $put) = '';
        # One write a turn, so that whoever shares the loop has his turn too.
        return $self->{writer}->start if $self->{source};
    }
    $self->{writer}->stop;
    shutdown $self->{fh}, 1 if delete $self->{shut_when_written};
}

# ---- writing ----

sub put {
    my ($self, $bytes) = @_;
    $self->{out} .= $bytes;
    $self->_writable;
    return $self;
}

# Writes what $source->() returns, again and again, until it returns undef.
sub put_from {
    my ($self, $source) = @_;
    $self->{source} = $source;
    $self->{writer}->start;
    return $self;
}

sub unwritten { return length $_[0]{out} }
sub written   { return $_[0]{written} || 0 }

# The bytes of a frame as this role has to send it; see Frame::frame.
sub make {
    my ($self, $opcode, $payload, %f) = @_;
    my %mask = $self->{role} eq 'client' ? (mask => pack 'N', 1 + int rand 0xfffffffe) : ();
    return frame(%mask, opcode => $opcode, payload => $payload, %f);
}

sub send_frame {
    my ($self, @frame) = @_;
    return $self->put($self->make(@frame));
}

sub send_close {
    my ($self, $code, $reason) = @_;
    return $self->send_frame(CLOSE, defined $code ? close_payload($code, $reason) : '');
}

# Ends our direction (FIN) after what is still to be written.
sub finish_writing {
    my ($self) = @_;
    $self->{shut_when_written} = 1;
    $self->_writable;
    return $self;
}

sub hang_up {
    my ($self, %o) = @_;
    setsockopt $self->{fh}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) if $o{reset};
    $self->{reader}->stop;
    $self->{writer}->stop;
    close $self->{fh};
    $self->{eof} = 1;
    return $self;
}

sub stop_reading  { $_[0]{reader}->stop;  return $_[0] }
sub start_reading { $_[0]{reader}->start; return $_[0] }

# ---- the upgrade ----

# The bytes of an upgrade request. headers adds, replaces (in place), repeats
# (array ref) or leaves out (undef) header fields.
sub request {
    my ($self, %o) = @_;
    my %set = %{ $o{headers} || {} };
    my @fields = (
        [ 'Host', '127.0.0.1' ], [ 'Upgrade', 'websocket' ], [ 'Connection', 'Upgrade' ],
        [ 'Sec-WebSocket-Key', $KEY ], [ 'Sec-WebSocket-Version', '13' ],
    );
    for my $field (@fields) {
        $field->[1] = delete $set{ $field->[0] } if exists $set{ $field->[0] };
    }
    push @fields, map { [ $_, $set{$_} ] } sort keys %set;
    my $text = join ' ', $o{method} || 'GET', $o{path} || '/', $o{version} || 'HTTP/1.1';
    for my $field (@fields) {
        my ($name, $value) = @$field;
        my @values = ref $value ? @$value : defined $value ? $value : ();
        $text .= "\r\n$name: $_" for @values;
    }
    return "$text\r\n\r\n";
}

sub upgrade {
    my ($self, %o) = @_;
    return $self->put($self->request(%o));
}

# As a server: the bytes of the 101 for the request that was read. fields is a
# list of whole lines to add; with, without replace and leave out our own.
sub response {
    my ($self, %o) = @_;
    my ($key) = $self->header('Sec-WebSocket-Key');
    my %with = %{ $o{with} || {} };
    my @own = (
        [ 'Upgrade', 'websocket' ], [ 'Connection', 'Upgrade' ],
        [ 'Sec-WebSocket-Accept', accept_key(defined $key ? $key : '') ],
    );
    my $text = ($o{status} || 'HTTP/1.1 101 Switching Protocols') . "\r\n";
    for my $field (@own) {
        my ($name, $value) = @$field;
        $value = $with{$name} if exists $with{$name};
        $text .= "$name: $value\r\n" if defined $value;
    }
    $text .= "$_\r\n" for @{ $o{fields} || [] };
    return "$text\r\n";
}

sub accept {
    my ($self, %o) = @_;
    return $self->put($self->response(%o));
}

# ---- what was read ----

sub head { return $_[0]{head} }
sub eof  { return $_[0]{eof} }
sub rest { return $_[0]{in} }

sub start_line {
    my ($self) = @_;
    return defined $self->{head} ? (split /\r\n/, $self->{head})[0] : undef;
}

sub status {
    my ($self) = @_;
    return ($self->start_line || '') =~ m{^HTTP/1\.1 (\d{3})\b} ? $1 : undef;
}

# All values of a header field, as they were written.
sub header {
    my ($self, $name) = @_;
    return () if !defined $self->{head};
    return $self->{head} =~ /^\Q$name\E:[ \t]*(.*?)[ \t]*\r$/img;
}

# Every frame read so far, oldest first.
sub frames {
    my ($self) = @_;
    return [] if !defined $self->{head};
    while (my $frame = take_frame(\$self->{in})) {
        push @{ $self->{frames} }, $frame;
    }
    return $self->{frames};
}

sub frames_of {
    my ($self, $opcode) = @_;
    return grep { $_->{opcode} == $opcode } @{ $self->frames };
}

# Whether a Close was read; in list context its (code, reason), code being
# undef if it had none.
sub close_read {
    my ($self) = @_;
    my ($close) = $self->frames_of(CLOSE) or return;
    return 1 if !wantarray;
    return (undef, '') if length $close->{payload} < 2;
    return (unpack('n', $close->{payload}), substr $close->{payload}, 2);
}

1;
