use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV;
use EV::Websockets;
use Events;
use Run;

# max_message_rate and max_byte_rate by TLS: the bytes of frames are counted, and what was
# decrypted already waits, too.

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
my $context = EV::Websockets::Context->new(ssl_ca => $made->file('ca.pem'));

for my $case (
    [ 5, 'max_message_rate', max_message_rate => [ 0.001, 5 ] ],
    [ 40, 'max_message_rate', max_message_rate => [ 200, 5 ], max_byte_rate => [ 1e6, 5000 ] ],
    [ 40, 'max_byte_rate', max_byte_rate => [ 1e6, 20 ] ],
) {
    my ($count, $told, %rates) = @$case;
    my $name = join ' ', %rates;
    my $events = Events->new;
    my @told;
    my $port = $context->listen(
        host => '127.0.0.1', $made->listen_with('server'), %rates,
        $events->handlers, on_limit => sub { push @told, $_[1] },
    );
    my $client = $context->connect(
        url        => "wss://localhost:$port/",
        on_connect => sub { $_[0]->send("message $_") for 1 .. 40 },
    );
    run_unticked(sub { $events->count('message') >= $count }, "$name: messages");
    settle() if $count < 40;
    is_deeply([ $events->messages ], [ map { "message $_" } 1 .. $count ], "$name: in order, and no more");
    is_deeply(\@told, [$told], "$name: on_limit, once");
    $client->close;
    run_until(sub { $events->count('close') || $count < 40 }, "$name: the end");
    $_->abort for $context->connections;
}

finish();
