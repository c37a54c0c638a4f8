package Attempt;

# One attempt to connect, and what came of it.

use strict;
use warnings;
use Run;
use Test::More;
use Exporter 'import';

our @EXPORT = qw(outcome);

# outcome($context, $url, %options_of_connect): undef if it connected, and what
# on_error said otherwise. The connection is closed again, unless then => sub {
# my ($conn) = @_; ... } wants it first.
sub outcome {
    my ($from, $url, %o) = @_;
    my ($connected, @errors, $closed);
    my $then = delete $o{then};
    my $conn = $from->connect(
        url        => $url,
        on_connect => sub { $connected = 1 },
        on_error   => sub { push @errors, $_[1] },
        on_close   => sub { $closed++ },
        %o,
    );
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    run_unticked(sub { $connected || @errors }, "$url came to something");
    $then->($conn) if $then && $connected;
    $conn->close if $connected;
    is $conn->state, 'closed', 'closed after an error' if @errors;
    ok !$closed, 'and no on_close' if @errors;
    return $connected ? undef : $errors[0];
}

1;
