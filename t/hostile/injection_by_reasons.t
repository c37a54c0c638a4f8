# CR, LF, NUL, \x0b and \x85 in the reasons of Close frames, in shutdown's, in rejections and in subprotocols that a server
# picks. What is text of a frame arrives as it is; what would be text of a head is refused.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Frame;
use Hostile;
use RawPeer;
use Run;
use Test::More;

my @strange = ("\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\xc2\x85", "\xe2\x80\xa8", "\r\n\r\n", "\n ");
my $which = sub { $strange[ $_[0]{'X-Which'} || 0 ] };
my %on_handshake = (
    # The client has offered no such name, however it is written.
    protocol => sub { my ($headers, $handshake) = @_; eval { $handshake->protocol('chat' . $which->($headers) . 'X-Injected: 1') }; return 1 },
    status   => sub { my ($headers, $handshake) = @_; eval { $handshake->reject('403 a' . $which->($headers) . 'X-Injected: 1') }; return 0 },
    header   => sub { my ($headers, $handshake) = @_; eval { $handshake->reject(403, [ 'X-Value', $which->($headers) . 'X-Injected: 1' ]) }; return 0 },
    body     => sub { my ($headers, $handshake) = @_; $handshake->reject(403, [], [ $which->($headers) . "X-Injected: 1\r\n" ]); return },
);
my $victim = victim(
    listen => {
        on_handshake => sub { my ($headers) = @_; my $how = $headers->{'X-How'} or return 1; return $on_handshake{$how}->(@_) },
        on_connect   => sub { my ($conn, $headers) = @_; $conn->stash->{reason} = 'a' . $which->($headers) . 'X-Injected: 1' },
        on_message   => sub { my ($conn, $text) = @_; $conn->close(4000, $conn->stash->{reason}) if $text eq 'close' },
    },
    # A context of its own, which it shuts down with the reason.
    do => sub {
        my ($loop, $number, $done) = @_;
        my $context = EV::Websockets::Context->new(loop => $loop);
        my $own;
        my $port = $context->listen(on_connect => sub { $own = 1 });
        my $client = EV::Websockets::Context->new(loop => $loop);
        my $reason = 'a' . $strange[$number] . 'X-Injected: 1';
        $client->connect(url => "ws://127.0.0.1:$port/",
            on_connect => sub { $context->shutdown(code => 4001, reason => $reason, cb => sub { undef $context }) },
            on_close => sub { undef $client; $done->() if $_[1] == 4001 && $_[2] eq $reason });
        # Options that become part of a head are refused.
        for my $protocol ("chat$strange[$number]X-Injected: 1", [ 'chat', "$strange[$number]X-Injected: 1" ]) {
            warn "accepted\n" if eval { $client->listen(protocol => $protocol); 1 };
        }
    },
);
attack($victim, 'reasons', times => 4, limit => 256, cpu => 3, sub {
    my ($times) = @_;
    for my $number ((0 .. $#strange) x $times) {
        my $peer = $victim->upgraded(headers => { 'X-Which' => $number });
        $peer->send_frame(TEXT, 'close');
        wait_until(sub { $peer->close_read || $peer->eof });
        my ($code, $reason) = $peer->close_read;
        fail("reason $number: " . ($reason || 'none')) if ($code || 0) != 4000 || $reason ne "a$strange[$number]X-Injected: 1";
        $peer->hang_up;
        $victim->do($number);
        wait_until(sub { $victim->seen->{done} }) or fail("shutdown $number");
    }
    $victim->meanwhile;
});
attack($victim, 'heads', times => 4, limit => 256, cpu => 3, sub {
    my ($times) = @_;
    for my $how ((sort keys %on_handshake) x $times) {
        for my $number (0 .. $#strange) {
            my $peer = $victim->peer->upgrade(headers => { 'X-How' => $how, 'X-Which' => $number, 'Sec-WebSocket-Protocol' => 'chat' });
            wait_until(sub { defined $peer->head || $peer->eof });
            my $head = defined $peer->head ? $peer->head : '';
            fail("$how $number: $head") if $head !~ m{\AHTTP/1\.1 (?:101|403) } || $head =~ /^[ \t]*X-Injected/mi || $head =~ /[^\r]\n|\r[^\n]|[\0\x0b\x0c]/;
            $peer->hang_up;
        }
    }
    $victim->meanwhile;
});

finish();
