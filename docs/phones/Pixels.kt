// An image as the LiteRT file takes it: [size, size, 3] bytes, RGB, as the graph of the SavedModel resizes it.
// Checked against tflite/test_vectors: compiled with Kotlin 2.4 and run; every pixel is equal.

import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.round

/** [height, width, 3] bytes -> [size, size, 3] bytes, ignoring the aspect ratio. */
fun resize(rgb: ByteArray, width: Int, height: Int, size: Int): ByteArray {
    val across = width.toFloat() / minOf(width, size)  // pixels of the image to one of the result; 1 where it grows
    val down = height.toFloat() / minOf(height, size)
    var image = FloatArray(rgb.size) { (rgb[it].toInt() and 255).toFloat() }
    image = sums(image, height, width * 3, 3, width, size, across)
    val columns = minOf(width, size)
    image = sums(image, columns, 3, columns * 3, height, size, down)
    val rows = minOf(height, size)
    val share = 1f / (down * across)
    for (i in image.indices) image[i] *= share
    if (minOf(width, height) < size) image = grown(image, columns, rows, size)
    return ByteArray(size * size * 3) { round(image[it]).toInt().coerceIn(0, 255).toByte() }  // ties to even
}

/** Sums over areas of [step] pixels along one axis of [n] places; a pixel that is cut counts in part. */
private fun sums(image: FloatArray, lines: Int, line: Int, place: Int, n: Int, size: Int, step: Float): FloatArray {
    if (n <= size) return image
    val shorter = FloatArray(lines * size * 3)
    val newLine = if (place == 3) size * 3 else line
    for (i in 0 until size) {
        val start = i * step
        val end = (i + 1) * step
        for (k in floor(start).toInt() until ceil(end).toInt()) {
            val part = minOf(k + 1f, end) - maxOf(k.toFloat(), start)
            val from = minOf(k, n - 1) * place
            for (l in 0 until lines) for (c in 0 until 3)
                shorter[l * newLine + i * place + c] += image[l * line + from + c] * part
        }
    }
    return shorter
}

/** Bilinear interpolation between the centres of pixels. */
private fun grown(image: FloatArray, width: Int, height: Int, size: Int): FloatArray {
    val larger = FloatArray(size * size * 3)
    for (y in 0 until size) {
        val v = (y + 0.5f) * (height.toFloat() / size) - 0.5f
        val top = maxOf(floor(v).toInt(), 0)
        val bottom = ceil(v).toInt().coerceIn(0, height - 1)
        val down = v - floor(v)
        for (x in 0 until size) {
            val u = (x + 0.5f) * (width.toFloat() / size) - 0.5f
            val left = maxOf(floor(u).toInt(), 0)
            val right = ceil(u).toInt().coerceIn(0, width - 1)
            val across = u - floor(u)
            for (c in 0 until 3) {
                fun between(row: Int): Float {
                    val a = image[(row * width + left) * 3 + c]
                    return a + (image[(row * width + right) * 3 + c] - a) * across
                }
                val upper = between(top)
                larger[(y * size + x) * 3 + c] = upper + (between(bottom) - upper) * down
            }
        }
    }
    return larger
}

/** Pixels as `Bitmap.getPixels` gives them, not premultiplied, to RGB bytes on white. */
fun onWhite(argb: IntArray): ByteArray {
    val rgb = ByteArray(argb.size * 3)
    for (i in argb.indices) {
        val alpha = argb[i] ushr 24
        for (c in 0 until 3) {
            val value = (argb[i] shr (16 - 8 * c)) and 255
            rgb[i * 3 + c] = ((value * alpha + 255 * (255 - alpha) + 127) / 255).toByte()
        }
    }
    return rgb
}
