# Messages of 40 octets that refer to the window of those before them, each of which
# inflates to just below the limit. A classic of windows and output buffers that each
# connection keeps at the size of its largest message.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Deflate;
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { deflate => { server_no_context_takeover => 0, client_no_context_takeover => 0 }, max_message_size => 1_000_000 });
my $deflate = Deflate->new;
my @messages = map { $deflate->message("\0" x 999_000) } 1 .. 40;
attack($victim, '50 connections with windows, 40 messages of a megabyte each', times => 50, limit => 50 * 50 + 2048, cpu => 6, sub {
    my ($times) = @_;
    my @peers = $victim->crowd($times, sub { $_[0]->upgrade(headers => { 'Sec-WebSocket-Extensions' => 'permessage-deflate' }) },
        sub { defined $_[0]->head }, 'all agree on compression');
    for my $peer (@peers) {
        $peer->put(join '', map { $peer->make(BINARY, $_, rsv => 4) } @messages);
        $victim->meanwhile if $peer == $peers[$times / 2];
    }
    $_->send_frame(PING, 'read') for @peers;
    run_until(sub { @peers == grep { $_->frames_of(PONG) || $_->eof } @peers }, 'all of it is read');
    is(scalar(grep { $_->eof || $_->close_read } @peers), 0, 'which is within the limit');
    $_->hang_up for @peers;
});
is($victim->seen->{error}, undef, 'no error');

finish();
